// Where local searches begin: variable projection. For given exponents a law's coefficients follow from non-negative
// least squares, so that a grid over the one to three exponents replaces a grid over five unknowns, and every start
// already lies in a valley of the data.
#pragma once

#include <span>
#include <vector>

#include "core/scaling/laws/law.h"

namespace tsugi {

/// About `count` starting points, the most promising first: the best cells of the grid, then cells spread over all of
/// it. `weights` empty means 1. A pure function of its arguments.
std::vector<Theta> starting_points(const Law& law, std::span<const RunPoint> points, std::span<const double> weights,
                                   int count);

}  // namespace tsugi
