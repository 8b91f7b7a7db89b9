// Presets, ranges and required fields as the schema states them (core/config/options.proto), by reflection.
#pragma once

#include <google/protobuf/text_format.h>

#include <map>
#include <string>

namespace tsugi {

/// Where the fields of a message came from.
struct Origins {
  std::string file;
  const google::protobuf::TextFormat::ParseInfoTree* locations = nullptr;
  /// Path of a field ("optimizer.beta2") → the override that set it ("--set optimizer.beta2=1.5").
  std::map<std::string, std::string> overrides;
};

/// Gives every absent scalar that has a preset its value, and creates the blocks these lie in (not those of a oneof
/// that is not chosen).
void apply_presets(google::protobuf::Message& message);

/// Throws one Error(kUsage) with a line for each field that is out of range, not finite, no known enum value, not UTF-8
/// or required and absent.
void check_limits(const google::protobuf::Message& message, const Origins& origins);

}  // namespace tsugi
