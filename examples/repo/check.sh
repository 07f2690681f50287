#!/bin/sh
# Holds limits.conf against provider.conf: what checkout sends at worst, and what the provider allows.
set -eu
cd "$(dirname "$0")"
failed=0

# The value of a setting; it must stand there once.
setting() {
    value=$(sed -n "s/^$2 *= *\(.*[^ ]\) *\$/\1/p" "$1")
    if [ "$(printf '%s\n' "$value" | grep -c .)" -ne 1 ]; then
        echo "$1: $2 must stand there exactly once" >&2
        exit 2
    fi
    printf '%s\n' "$value"
}

# Whether a value is a whole number without leading zeros, small enough to reckon with.
number() {
    case $1 in
        0) return 0 ;;
        '' | *[!0-9]* | 0* | ?????????*) return 1 ;;
        *) return 0 ;;
    esac
}

# holds NAME CONDITION WHY
holds() {
    if [ "$2" -eq 1 ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: $3"
        failed=1
    fi
}

workers=$(setting limits.conf workers)
attempts=$(setting limits.conf attempts)
backoff=$(setting limits.conf backoff_ms)
timeout=$(setting limits.conf timeout_ms)
rate_max=$(setting provider.conf requests_per_second)
attempts_max=$(setting provider.conf attempts_max)
timeout_max=$(setting provider.conf timeout_ms_max)
for value in "$workers" "$rate_max" "$attempts_max" "$timeout_max"; do
    number "$value" || { echo "$value is not a number" >&2; exit 2; }
done

bounded=0
number "$attempts" && [ "$attempts" -ge 1 ] && [ "$attempts" -le "$attempts_max" ] && bounded=1
holds attempts "$bounded" "$attempts, where 1 to $attempts_max are allowed"

# While the provider refuses, every worker sends one request per back-off.
slow=0
rate='unbounded'
if number "$backoff" && [ "$backoff" -gt 0 ]; then
    rate=$(((workers * 1000 + backoff - 1) / backoff))
    [ "$rate" -le "$rate_max" ] && slow=1
fi
holds rate "$slow" "$workers workers that wait $backoff ms: $rate requests a second, where $rate_max are allowed"

short=0
number "$timeout" && [ "$timeout" -ge 1 ] && [ "$timeout" -le "$timeout_max" ] && short=1
holds timeout "$short" "$timeout ms, where 1 to $timeout_max are allowed"

exit "$failed"
