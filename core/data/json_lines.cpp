#include "core/data/json_lines.h"

#include <algorithm>
#include <string_view>

#include "core/data/file.h"

namespace tsugi {

void for_each_json_line(const std::string& path, const std::function<void(const JsonValue&)>& visit) {
  constexpr int64_t kLargestFile = int64_t{4} << 30;
  const std::string content = read_file(path, kLargestFile);
  int64_t line = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view json = std::string_view(content).substr(at, end - at);
    at = end + 1;
    ++line;
    if (json.find_first_not_of(" \t\r") == json.npos) continue;
    visit(parse_json(json, path + ':' + std::to_string(line)));
  }
}

}  // namespace tsugi
