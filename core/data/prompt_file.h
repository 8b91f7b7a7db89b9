// Files of prompts to be continued.
#pragma once

#include <string>
#include <vector>

namespace tsugi {

/// Of NAME.jsonl and NAME.ndjson the members "prompt"; of other files (at most 1 GiB) the lines that are not empty.
/// None is an Error(kData), which names file and line of what is wrong.
std::vector<std::string> read_prompts(const std::string& path);

}  // namespace tsugi
