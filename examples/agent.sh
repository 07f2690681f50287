#!/bin/sh
# An example agent. It reads an alert event (JSON) on standard input and edits the git worktree that it is started in; whoever runs it
# takes the difference as its proposal. It is deterministic: the same event and the same files give the same edit.
#
# COUNTERFOIL_NOTE, if it is set, is what an approver wants changed about the last proposal.
set -eu
event=$(cat)

# A string member of the event.
member() {
    printf '%s\n' "$event" | tr -d '\n' | sed -n "s/.*\"$1\" *: *\"\([^\"\\\\]*\)\".*/\1/p"
}

# Sets NAME = VALUE in limits.conf.
set_limit() {
    sed "s/^$1 *=.*/$1 = $2/" limits.conf > limits.conf.new
    mv limits.conf.new limits.conf
}

if [ -f limits.conf ] && [ -f provider.conf ]; then
    # The checkout service: bound the retries. Gentler, once somebody asked for a change.
    if [ -n "${COUNTERFOIL_NOTE:-}" ]; then
        set_limit attempts 3
        set_limit backoff_ms 1000
    else
        set_limit attempts 5
        set_limit backoff_ms 200
    fi
else
    # A repository that this agent does not know: write down what happened, and touch nothing else.
    when=$(member time)
    if [ ! -f INCIDENTS.md ]; then
        printf '# Incidents\n' > INCIDENTS.md
    fi
    printf '\n## %s: %s\n\n%s.\n' "${when%%T*}" "$(member id)" "$(member summary)" >> INCIDENTS.md
    if [ -n "${COUNTERFOIL_NOTE:-}" ]; then
        printf '\nReviewed: %s\n' "$COUNTERFOIL_NOTE" >> INCIDENTS.md
    fi
fi
