#include "core/data/prompt_file.h"

#include <sstream>

#include "core/data/file.h"
#include "core/data/json_lines.h"
#include "ops/base/error.h"

namespace tsugi {

std::vector<std::string> read_prompts(const std::string& path) {
  constexpr int64_t kMaxPromptBytes = int64_t{1} << 30;
  std::vector<std::string> prompts;
  if (path.ends_with(".jsonl") || path.ends_with(".ndjson")) {
    for_each_json_line(path, [&](const JsonValue& line) { prompts.push_back(line.require_string("prompt")); });
  } else {
    std::istringstream lines(read_file(path, kMaxPromptBytes));
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) prompts.push_back(line);
    }
  }
  if (prompts.empty()) throw Error(ExitCode::kData, path + ": there is no prompt");
  return prompts;
}

}  // namespace tsugi
