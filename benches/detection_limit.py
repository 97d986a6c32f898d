#!/usr/bin/env python3
"""What nobody can know who only counts: the share of hosts that is infected before counts say how fast a worm grows.

usage: benches/detection_limit.py

Needs Python alone. For the worms, telescopes and backgrounds of `martlet-detect`'s evaluation (crates/detect/examples/evaluate, whose figures
stand here again) it takes the exact mean and covariance of the counts in bins, and from them Fisher's information: by Cramer and Rao no unbiased
estimate of the growth rate has a smaller standard error. Told are, as shares of the susceptible hosts,

- seen:  where the worm's counts stand 5 standard deviations above what the background explains, its level being known within 5 %;
- 25 %:  where half of all best estimates of the rate are within 25 %;
- 20 %:  where 95 % of them are within 20 %.

"-": not before half of the hosts are infected. `sightings` counts every source once a window of ten seconds, in bins of a sixth of a doubling;
`sources` counts every source once in ten minutes, in 32 bins (for worms that double in a few of them).
"""

import math

SPACE = 2**32
WORMS = {"slammer": (4000, 75_000), "code-red": (6, 359_000), "mirai-like": (160, 10_000), "slow": (0.5, 200_000)}
TELESCOPES = {"60 addresses": 60, "/24": 256, "/16": 65_536}
BACKGROUNDS = {"quiet": 0.1, "busy": 50, "very busy": 640}  # sightings an address and day

# A source of the background is seen 1 + Poisson(3) times, each at an exponential distance of 300 s from its coming; their number wanders by 15 %
# with a memory of an hour. The day's rhythm is taken as known.
AGAIN, STAY = 3.0, 300.0
# Other sightings of the source of a sighting: the mean of k (k - 1) over that of k = 1 + Poisson(3).
OTHERS = AGAIN + AGAIN / (1 + AGAIN)
WANDER, MEMORY = 0.15, 3600.0
LEVEL_KNOWN = 0.05

TEN_MINUTES = 600.0
BINS_A_DOUBLING, DOUBLINGS = 6, 14
# Two-sided points of the normal distribution for a half and for 95 %.
HALF, MOST = 0.674, 1.960


def occupied(length, apart):
    """Mean number of pairs of bins that lie so many apart and both have a sighting of one source (apart 0: of its bins)."""

    def both(first, second, phase):
        # Chance that a sighting falls into a bin that begins there, by its distance from the coming of the source.
        def hit(start):
            return math.exp(-max(start, 0.0) / STAY) - math.exp(-max(start + length, 0.0) / STAY)

        def seen(*bins):
            missed = 1.0 - sum(hit(place * length - phase) for place in set(bins))
            return 1.0 - missed * math.exp(-AGAIN * (1.0 - missed))

        return seen(first) if first == second else seen(first) + seen(second) - seen(first, second)

    phases = [length * (part + 0.5) / 40 for part in range(40)]
    return sum(both(place, place + apart, phase) for phase in phases for place in range(24)) / len(phases)


def background(per_second, length, number, distinct):
    """Mean and covariance of the background's counts in bins."""
    if distinct:
        sources = per_second * length / (1 + AGAIN)
        pairs = [sources * occupied(length, apart) for apart in range(8)] + [0.0] * number
        mean = pairs[0]
    else:
        mean, ratio = per_second * length, length / STAY
        same = (ratio - 1 + math.exp(-ratio)) / ratio
        pairs = [mean * (1 + OTHERS * same)]
        shared = mean * OTHERS * (math.cosh(ratio) - 1) / ratio
        pairs += [shared * math.exp(-apart * ratio) for apart in range(1, number)]
    wander = [(mean * WANDER) ** 2 * math.exp(-apart * length / MEMORY) for apart in range(number)]
    return mean, [pairs[apart] + wander[apart] for apart in range(number)]


def whiten(matrix, columns):
    """Columns over the Cholesky factor of a covariance: their inner products are those with its inverse between them."""
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            left = matrix[row][column] - sum(map(float.__mul__, lower[row][:column], lower[column][:column]))
            lower[row][column] = math.sqrt(left) if row == column else left / lower[column][column]
    whitened = []
    for values in columns:
        half = []
        for row in range(size):
            half.append((values[row] - sum(map(float.__mul__, lower[row][:row], half))) / lower[row][row])
        whitened.append(half)
    return whitened


def known(scans, hosts, addresses, per_second, share, distinct):
    """Standard errors that the worm stands above the background, and the standard error of the logarithm of its rate."""
    rate = scans * hosts / SPACE
    length = TEN_MINUTES if distinct else math.log(2) / rate / BINS_A_DOUBLING
    number = 32 if distinct else BINS_A_DOUBLING * DOUBLINGS
    hits = scans * addresses / SPACE
    mean, covariance = background(per_second, length, number, distinct)
    times = [(place + 1 - number) * length for place in range(number)]
    odds = [share / (1 - share) * math.exp(rate * time) for time in times]
    infected = [hosts * odd / (1 + odd) for odd in odds]
    worm = [count * ((1 - math.exp(-hits * length)) if distinct else hits * length) for count in infected]
    matrix = [
        [covariance[abs(row - column)] + (worm[row] if row == column else 0.0) for column in range(number)]
        for row in range(number)
    ]
    slope = [count * rate * time for count, time in zip(worm, times)]
    parts = whiten(matrix, [worm, slope, [mean] * number])
    fisher = [[sum(map(float.__mul__, one, other)) for other in parts] for one in parts]
    fisher[2][2] += LEVEL_KNOWN**-2
    above = math.sqrt(fisher[0][0] - fisher[0][2] ** 2 / fisher[2][2])
    (error,) = whiten(fisher, [[0.0, 1.0, 0.0]])
    return above, math.sqrt(sum(part * part for part in error))


def first_share(is_enough):
    """The lowest share for which something holds, on a logarithmic scale; `-` if that is above a half."""
    low, high = math.log(1e-6), math.log(0.5)
    if not is_enough(math.exp(high)):
        return "-"
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(math.exp(middle)) else (middle, high)
    return f"{100 * math.exp(high):.2g} %"


def main():
    print("| background | worm | telescope | counted | seen | 25 % | 20 % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for level, per_day in BACKGROUNDS.items():
        for worm, (scans, hosts) in WORMS.items():
            for telescope, addresses in TELESCOPES.items():
                doubling = math.log(2) * SPACE / scans / hosts
                for distinct in (False, True) if 1 < doubling / TEN_MINUTES < 8 else (False,):
                    per_second = addresses * per_day / 86_400

                    def at(share, scans=scans, hosts=hosts, addresses=addresses, distinct=distinct, rate=per_second):
                        return known(scans, hosts, addresses, rate, share, distinct)

                    seen = first_share(lambda share: at(share)[0] >= 5)
                    half = first_share(lambda share: HALF * at(share)[1] <= 0.25)
                    most = first_share(lambda share: MOST * at(share)[1] <= 0.2)
                    counted = "sources" if distinct else "sightings"
                    print(f"| {level} | {worm} | {telescope} | {counted} | {seen} | {half} | {most} |", flush=True)


if __name__ == "__main__":
    main()
