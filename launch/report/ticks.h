// Where the ticks of an axis stand.
#pragma once

#include <string>
#include <vector>

#include "launch/report/svg.h"

namespace tsugi {

/// Round values within [low, high], at most about `most`: decades and their 1-2-5 (or all) multiples on logarithmic
/// axes that span enough, steps of 1, 2 or 5 times a power of ten otherwise.
std::vector<double> axis_ticks(const Axis& axis, double low, double high, int most);
std::string tick_text(const Axis& axis, double value);

}  // namespace tsugi
