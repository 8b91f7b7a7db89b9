#include "core/config/limits.h"

#include <glog/logging.h>
#include <google/protobuf/descriptor.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/config/options.pb.h"
#include "core/config/schema.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ParseInfoTree = google::protobuf::TextFormat::ParseInfoTree;

/// Shortest decimal form that reads back as the same number.
template <class T>
std::string shortest(T value) {
  char buffer[64];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  CHECK(error == std::errc());
  return {buffer, end};
}

bool is_utf8_text(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : -1;
    if (lead == 0 || more < 0 || text.size() - i <= static_cast<size_t>(more)) return false;
    uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
    for (int k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<size_t>(k)]);
      if (next >> 6 != 2) return false;
      code = code << 6 | (next & 0x3f);
    }
    constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += static_cast<size_t>(more) + 1;
  }
  return true;
}

bool is_required(const Message& message, const FieldDescriptor& field) {
  if (!field.options().GetExtension(required)) return false;
  if (!field.options().HasExtension(required_unless)) return true;
  const std::string& name = field.options().GetExtension(required_unless);
  const FieldDescriptor* instead = message.GetDescriptor()->FindFieldByName(name);
  CHECK(instead != nullptr) << field.full_name() << ": required_unless " << name;
  const Reflection& reflection = *message.GetReflection();
  return instead->is_repeated() ? reflection.FieldSize(message, instead) == 0 : !reflection.HasField(message, instead);
}

/// One pass over a message and its blocks.
class Checker {
 public:
  explicit Checker(const Origins& origins) : origins_(origins) {}

  void check(const Message& message, const std::string& prefix, const ParseInfoTree* locations,
             const std::string& own_location) {
    const Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string path = prefix + field.name();
      const bool repeated = field.is_repeated();
      const int count = repeated ? message.GetReflection()->FieldSize(message, &field)
                                 : message.GetReflection()->HasField(message, &field);
      if (count == 0 && is_required(message, field)) complain(own_location, path + " is required");
      for (int k = 0; k < count; ++k) {
        const std::string name = repeated ? path + "[" + std::to_string(k) + "]" : path;
        const int index = repeated ? k : -1;
        const std::string location = locate(name, field, index, locations, own_location);
        if (field.message_type() == nullptr) {
          const std::string reason = wrong(message, field, k);
          if (!reason.empty()) complain(location, name + " " + reason);
          continue;
        }
        const ParseInfoTree* nested = nullptr;
        if (locations != nullptr && locations->GetLocation(&field, index).line >= 0) {
          nested = locations->GetTreeForNested(&field, index);
        }
        const Reflection& reflection = *message.GetReflection();
        check(repeated ? reflection.GetRepeatedMessage(message, &field, k) : reflection.GetMessage(message, &field),
              name + ".", nested, location);
      }
    }
  }

  void finish() const {
    if (!complaints_.empty()) throw Error(ExitCode::kUsage, join(complaints_, "\n"));
  }

 private:
  void complain(const std::string& location, const std::string& reason) {
    complaints_.push_back(location + ": " + reason);
  }

  /// "FILE:LINE:COLUMN", the override, or the place of the block around.
  std::string locate(const std::string& path, const FieldDescriptor& field, int index, const ParseInfoTree* locations,
                     const std::string& otherwise) const {
    const auto override = origins_.overrides.find(path);
    if (override != origins_.overrides.end()) return override->second;
    if (locations == nullptr) return otherwise;
    const auto location = locations->GetLocation(&field, index);
    if (location.line < 0) return otherwise;
    return origins_.file + ":" + std::to_string(location.line + 1) + ":" + std::to_string(location.column + 1);
  }

  /// What is wrong with a scalar that is present; "" when nothing is.
  static std::string wrong(const Message& message, const FieldDescriptor& field, int index) {
    const Reflection& reflection = *message.GetReflection();
    const bool repeated = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return out_of_range(field, repeated ? reflection.GetRepeatedInt32(message, &field, index)
                                            : reflection.GetInt32(message, &field));
      case FieldDescriptor::CPPTYPE_INT64:
        return out_of_range(field, repeated ? reflection.GetRepeatedInt64(message, &field, index)
                                            : reflection.GetInt64(message, &field));
      case FieldDescriptor::CPPTYPE_UINT32:
        return out_of_range(field, repeated ? reflection.GetRepeatedUInt32(message, &field, index)
                                            : reflection.GetUInt32(message, &field));
      case FieldDescriptor::CPPTYPE_UINT64:
        return out_of_range(field, repeated ? reflection.GetRepeatedUInt64(message, &field, index)
                                            : reflection.GetUInt64(message, &field));
      case FieldDescriptor::CPPTYPE_FLOAT:
        return out_of_range(field, repeated ? reflection.GetRepeatedFloat(message, &field, index)
                                            : reflection.GetFloat(message, &field));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return out_of_range(field, repeated ? reflection.GetRepeatedDouble(message, &field, index)
                                            : reflection.GetDouble(message, &field));
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int number = repeated ? reflection.GetRepeatedEnumValue(message, &field, index)
                                    : reflection.GetEnumValue(message, &field);
        if (field.enum_type()->FindValueByNumber(number) != nullptr) return {};
        return "is " + std::to_string(number) + ", but must be " + what_it_takes(field);
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string text =
            repeated ? reflection.GetRepeatedString(message, &field, index) : reflection.GetString(message, &field);
        if (!is_utf8_text(text)) return "is not UTF-8 text";
        return text.empty() && is_required(message, field) ? "is required, but is empty" : "";
      }
      case FieldDescriptor::CPPTYPE_BOOL:
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return {};
    }
    return {};
  }

  /// The limits are compared in the field's own type, so that a limit itself is inside whatever its rounding.
  template <class T>
  static std::string out_of_range(const FieldDescriptor& field, T value) {
    using Compared = std::conditional_t<std::is_same_v<T, float>, float, double>;
    if (!std::isfinite(static_cast<double>(value))) return "is not a finite number";
    if (!field.options().HasExtension(range)) return {};
    const Range& limits = field.options().GetExtension(range);
    const auto number = static_cast<Compared>(value);
    const bool low = limits.has_min() && (limits.exclusive_min() ? number <= static_cast<Compared>(limits.min())
                                                                 : number < static_cast<Compared>(limits.min()));
    const bool high = limits.has_max() && number > static_cast<Compared>(limits.max());
    if (!low && !high) return {};
    std::string bounds;
    if (limits.has_min()) bounds = (limits.exclusive_min() ? "more than " : "at least ") + shortest(limits.min());
    if (limits.has_max()) bounds += (bounds.empty() ? "at most " : " and at most ") + shortest(limits.max());
    return "is " + shortest(value) + ", but must be " + bounds;
  }

  const Origins& origins_;
  std::vector<std::string> complaints_;
};

bool contains_itself(const Descriptor& type, const std::vector<const Descriptor*>& around) {
  for (const Descriptor* outer : around) {
    if (outer == &type) return true;
  }
  return false;
}

void apply_presets(Message& message, std::vector<const Descriptor*>& around) {
  const Reflection& reflection = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  around.push_back(&type);
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.message_type() == nullptr) {
      if (!field.options().HasExtension(preset) || reflection.HasField(message, &field)) continue;
      const Complaint complaint = set_scalar(message, field, field.options().GetExtension(preset), field.full_name());
      CHECK(complaint.reason.empty()) << "wrong preset in the schema: " << complaint.reason;
    } else if (field.is_repeated()) {
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        apply_presets(*reflection.MutableRepeatedMessage(&message, &field, k), around);
      }
    } else if (reflection.HasField(message, &field) ||
               (field.real_containing_oneof() == nullptr && !contains_itself(*field.message_type(), around))) {
      apply_presets(*reflection.MutableMessage(&message, &field), around);
    }
  }
  around.pop_back();
}

}  // namespace

void apply_presets(Message& message) {
  std::vector<const Descriptor*> around;
  apply_presets(message, around);
}

void check_limits(const Message& message, const Origins& origins) {
  Checker checker(origins);
  checker.check(message, "", origins.locations, origins.file);
  checker.finish();
}

}  // namespace tsugi
