// Questions about a schema that several kinds of message to the user need answered.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// "a whole number", "true or false", "one of COSINE, LINEAR", "a block { … }": what a field takes.
std::string what_it_takes(const google::protobuf::FieldDescriptor& field);

std::vector<std::string> field_names(const google::protobuf::Descriptor& type);
std::vector<std::string> value_names(const google::protobuf::EnumDescriptor& type);

/// "path (value)".
inline std::string with_value(const std::string& path, int64_t value) {
  return path + " (" + std::to_string(value) + ")";
}

/// "a, b, c".
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// What a user wrote, for a message: control characters as \x1b, so that a terminal does not obey them.
std::string printable(std::string_view text);

/// The same in quotes, cut when long.
std::string in_quotes(std::string_view text);

/// A problem with what to do about it.
struct Complaint {
  std::string reason;
  std::string hint;
};

/// unknown field "lerning_rate" in OptimizerConfig; did you mean "learning_rate"? A name that exists elsewhere below
/// `root` is answered with its path. The hint lists the fields of `type`.
Complaint unknown_field(std::string_view name, const google::protobuf::Descriptor& type,
                        const google::protobuf::Descriptor& root);

/// unknown value "COSIN" of schedule.kind; did you mean "COSINE"?
Complaint unknown_value(std::string_view value, const std::string& path, const google::protobuf::EnumDescriptor& type);

/// Sets a singular scalar from its plain text: strings as they are, enums by name, true or false, decimal numbers.
/// Returns the complaint, or one with an empty reason. `path` is how the field is called in it.
Complaint set_scalar(google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field,
                     const std::string& text, const std::string& path);

}  // namespace tsugi
