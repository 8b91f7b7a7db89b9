// JSON Lines (https://jsonlines.org): one object a line.
#pragma once

#include <functional>
#include <string>

#include "core/data/json.h"

namespace tsugi {

/// Calls visit with the value of every line that is not blank, in order; its origin is "FILE:LINE". For files that fit
/// in memory (at most 4 GiB, else Error(kData)). Throws Error(kData) "FILE:LINE: …" for what is not JSON.
void for_each_json_line(const std::string& path, const std::function<void(const JsonValue&)>& visit);

}  // namespace tsugi
