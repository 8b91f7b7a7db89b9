#include "core/config/config.h"

#include <google/protobuf/text_format.h>

#include <cstdint>

#include "core/config/limits.h"
#include "core/config/overrides.h"
#include "core/config/schema.h"
#include "core/config/text_parser.h"
#include "core/data/file.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kLargestConfig = 1 << 20;

}  // namespace

void load_config(const std::string& path, const std::vector<std::string>& overrides,
                 google::protobuf::Message& message) {
  std::string text;
  try {
    text = read_file(path, kLargestConfig);
  } catch (const Error& error) {
    throw Error(ExitCode::kUsage, error.what(), error.hint());  // the user named the wrong file
  }
  parse_config(text, path, overrides, message);
}

void parse_config(const std::string& text, const std::string& origin, const std::vector<std::string>& overrides,
                  google::protobuf::Message& message) {
  if (static_cast<int64_t>(text.size()) > kLargestConfig) {
    throw Error(ExitCode::kUsage, origin + ": larger than the limit of " + std::to_string(kLargestConfig) + " bytes");
  }
  google::protobuf::TextFormat::ParseInfoTree locations;
  parse_text(text, origin, message, locations);
  Origins origins{origin, &locations, {}};
  for (const std::string& assignment : overrides) {
    const std::string set = "--set " + printable(assignment);
    origins.overrides[apply_override(assignment, set, message)] = set;
  }
  apply_presets(message);
  check_limits(message, origins);
}

std::string to_text(const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  printer.PrintToString(message, &text);
  return text;
}

}  // namespace tsugi
