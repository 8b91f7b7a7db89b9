#include "core/config/schema.h"

#include <charconv>
#include <cstdint>

#include "core/config/nearest.h"

namespace tsugi {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Deeper than any schema of ours; a schema that contains itself ends here.
constexpr int kDeepest = 8;

// The path of the first field called `name` below `type`, or "".
std::string find_path(std::string_view name, const Descriptor& type, int depth) {
  if (depth == kDeepest) return {};
  for (int i = 0; i < type.field_count(); ++i) {
    if (type.field(i)->name() == name) return type.field(i)->name();
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const Descriptor* nested = type.field(i)->message_type();
    if (nested == nullptr) continue;
    const std::string path = find_path(name, *nested, depth + 1);
    if (!path.empty()) return type.field(i)->name() + "." + path;
  }
  return {};
}

std::string did_you_mean(const std::string& name) {
  return name.empty() ? std::string() : "; did you mean \"" + name + "\"?";
}

template <class T>
Complaint parse_number(const FieldDescriptor& field, const std::string& text, const std::string& path, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
    return {path + " takes " + what_it_takes(field) + "; " + in_quotes(text) + " does not fit its type", {}};
  }
  if (error != std::errc() || end != text.data() + text.size()) {
    return {path + " takes " + what_it_takes(field) + ", not " + in_quotes(text), {}};
  }
  return {};
}

}  // namespace

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string result;
  for (const std::string& part : parts) {
    if (!result.empty()) result += separator;
    result += part;
  }
  return result;
}

std::vector<std::string> field_names(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::vector<std::string> value_names(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

std::string printable(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      result += c;
    }
  }
  return result;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 60;
  return '"' + printable(text.substr(0, kLongest)) + (text.size() > kLongest ? "…\"" : "\"");
}

std::string what_it_takes(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "a whole number";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "a whole number that is not negative";
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return "one of " + join(value_names(*field.enum_type()));
    case FieldDescriptor::CPPTYPE_STRING:
      return "a string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a block { … }";
  }
  return {};
}

Complaint unknown_field(std::string_view name, const Descriptor& type, const Descriptor& root) {
  Complaint complaint{"unknown field " + in_quotes(name) + " in " + type.name(),
                      "fields of " + type.name() + ": " + join(field_names(type))};
  const std::string elsewhere = find_path(name, root, 0);
  const std::string near = nearest_name(name, field_names(type));
  complaint.reason += did_you_mean(elsewhere.empty() ? near : elsewhere);
  return complaint;
}

Complaint unknown_value(std::string_view value, const std::string& path, const EnumDescriptor& type) {
  const std::vector<std::string> names = value_names(type);
  return {"unknown value " + in_quotes(value) + " of " + path + did_you_mean(nearest_name(value, names)),
          "values of " + path + ": " + join(names)};
}

Complaint set_scalar(Message& message, const FieldDescriptor& field, const std::string& text, const std::string& path) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const auto set_number = [&]<class T, class Stored>(T value, void (google::protobuf::Reflection::*set)(
                                                                  Message*, const FieldDescriptor*, Stored) const) {
    Complaint complaint = parse_number(field, text, path, value);
    if (complaint.reason.empty()) (reflection.*set)(&message, &field, static_cast<Stored>(value));
    return complaint;
  };
  using google::protobuf::Reflection;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return set_number(int32_t{}, &Reflection::SetInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return set_number(int64_t{}, &Reflection::SetInt64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return set_number(uint32_t{}, &Reflection::SetUInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return set_number(uint64_t{}, &Reflection::SetUInt64);
    case FieldDescriptor::CPPTYPE_FLOAT:  // by way of double, as in a file: both give the same bits
      return set_number(double{}, &Reflection::SetFloat);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return set_number(double{}, &Reflection::SetDouble);
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return {path + " takes true or false, not " + in_quotes(text), {}};
      reflection.SetBool(&message, &field, text == "true");
      return {};
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = field.enum_type()->FindValueByName(text);
      if (value == nullptr) return unknown_value(text, path, *field.enum_type());
      reflection.SetEnum(&message, &field, value);
      return {};
    }
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.SetString(&message, &field, text);
      return {};
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return {path + " is a block of fields and takes no value of its own",
              "set one of its fields: " + join(field_names(*field.message_type()))};
  }
  return {};
}

}  // namespace tsugi
