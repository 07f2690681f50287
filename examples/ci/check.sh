#!/bin/sh
# Asks whether an action would be let pass, and says so beside the change that it is about.
#
# COUNTERFOIL_ACTION   the action, a JSON file
# COUNTERFOIL_SERVER   the log's server
# COUNTERFOIL_TRUST    the trust file, of the branch that is merged into
# COUNTERFOIL_RUNTIME  who would execute it; empty for whom the proposal names
#
# In a GitHub job with PULL_REQUEST and GITHUB_TOKEN, or a GitLab one with GITLAB_TOKEN, the answer becomes a comment.
# Exit status: 0 it would, 1 refused, 2 could not ask, 3 not shown, 4 not decided yet. A comment that can't be made changes nothing about it.
set -eu

# Tokens stand in files that nobody else reads: arguments of programs are everybody's to see.
umask 077
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
report=$scratch/report.md
header=$scratch/header

status=0
if command -v counterfoil > /dev/null; then
  counterfoil gate check --action "$COUNTERFOIL_ACTION" --server "$COUNTERFOIL_SERVER" --trust "$COUNTERFOIL_TRUST" \
    ${COUNTERFOIL_RUNTIME:+--for "$COUNTERFOIL_RUNTIME"} --markdown "$report" || status=$?
else
  status=2
  echo "error[counterfoil-missing]: no counterfoil in PATH: install.sh builds it" >&2
  printf '### Counterfoil: not asked\n\nThe job has no `counterfoil`: nothing says that this may be done.\n' > "$report"
fi
if [ ! -s "$report" ]; then
  printf '### Counterfoil: not shown\n\nNothing that verifies says that this may be done (exit status %s).\n' "$status" > "$report"
fi

if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$report" >> "$GITHUB_STEP_SUMMARY"
fi

comment() {
  if [ -n "${GITHUB_TOKEN:-}" ] && [ -n "${PULL_REQUEST:-}" ]; then
    printf 'Authorization: Bearer %s\n' "$GITHUB_TOKEN" > "$header" &&
      jq -Rs '{body: .}' "$report" | curl -fsS -o /dev/null -H "@$header" \
        -H 'Accept: application/vnd.github+json' --data-binary @- \
        "${GITHUB_API_URL:-https://api.github.com}/repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
  elif [ -n "${GITLAB_TOKEN:-}" ] && [ -n "${CI_MERGE_REQUEST_IID:-}" ]; then
    printf 'PRIVATE-TOKEN: %s\n' "$GITLAB_TOKEN" > "$header" &&
      curl -fsS -o /dev/null -H "@$header" --data-urlencode "body@$report" \
        "$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes"
  fi
}
comment || echo "warning: the comment could not be made" >&2
exit "$status"
