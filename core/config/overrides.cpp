#include "core/config/overrides.h"

#include "core/config/schema.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

}  // namespace

std::string apply_override(std::string_view assignment, const std::string& origin, google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const auto fail = [&](const Complaint& complaint) {
    throw Error(ExitCode::kUsage, origin + ": " + complaint.reason, complaint.hint);
  };
  const google::protobuf::Descriptor& root = *message.GetDescriptor();
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) fail({"expected path=value", "for example --set steps=100"});

  const std::string path = trimmed(assignment.substr(0, equals));
  google::protobuf::Message* block = &message;
  size_t begin = 0;
  for (;;) {
    const size_t dot = path.find('.', begin);
    const std::string name = path.substr(begin, dot - begin);
    const FieldDescriptor* field = block->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) fail(unknown_field(name, *block->GetDescriptor(), root));
    if (field->is_repeated()) fail({path.substr(0, dot) + " is a list and can only be set in the file", {}});
    if (dot == std::string::npos) {
      const bool is_text = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
      const std::string value(assignment.substr(equals + 1));
      const Complaint complaint = set_scalar(*block, *field, is_text ? value : trimmed(value), path);
      if (!complaint.reason.empty()) fail(complaint);
      return path;
    }
    if (field->message_type() == nullptr)
      fail({path.substr(0, dot) + " takes " + what_it_takes(*field) + " and has no fields", {}});
    block = block->GetReflection()->MutableMessage(block, field);
    begin = dot + 1;
  }
}

}  // namespace tsugi
