#include "core/config/text_parser.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <optional>
#include <utility>
#include <vector>

#include "core/config/schema.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::ArrayInputStream;
using TextTokenizer = google::protobuf::io::Tokenizer;

/// Line and column from 0, as protobuf's tokenizer counts them (a tab leads to the next multiple of 8).
using Position = std::pair<int, int>;

struct ParseError {
  Position position;
  std::string message;
};

/// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!error) error = ParseError{{line, column}, message};
  }
  std::optional<ParseError> error;
};

/// The field that was being read when the parser gave up.
struct Place {
  std::vector<std::string> blocks;  ///< names of the blocks around it
  std::string field;                ///< "" when none had begun
  Position position;                ///< of the field's name
  std::string token;                ///< the token at which the parser gave up
};

/// Follows the tokens up to `end`: all of them are well-formed text, or the parser would have given up before.
Place find_place(const std::string& text, Position end) {
  ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  FirstError ignored;
  TextTokenizer tokenizer(&stream, &ignored);
  tokenizer.set_comment_style(TextTokenizer::SH_COMMENT_STYLE);
  tokenizer.set_allow_f_after_float(true);
  tokenizer.set_require_space_after_number(false);
  tokenizer.set_allow_multiline_strings(true);

  Place place;
  enum { kName, kAfterName, kValue } expected = kName;
  bool in_list = false;
  std::vector<bool> lists;  // of the blocks around
  while (tokenizer.Next()) {
    const TextTokenizer::Token& token = tokenizer.current();
    if (Position{token.line, token.column} >= end) {
      place.token = token.text;
      break;
    }
    if (token.text == "{" || token.text == "<") {
      place.blocks.push_back(place.field);
      place.field.clear();
      lists.push_back(std::exchange(in_list, false));
      expected = kName;
    } else if (token.text == "}" || token.text == ">") {
      if (place.blocks.empty()) break;
      place.field = std::exchange(place.blocks.back(), {});
      place.blocks.pop_back();
      in_list = lists.back();
      lists.pop_back();
      expected = in_list ? kValue : kName;
    } else if (token.text == "[") {
      in_list = true;
    } else if (token.text == "]") {
      in_list = false;
      expected = kName;
    } else if (expected == kName && token.type == TextTokenizer::TYPE_IDENTIFIER) {
      place.field = token.text;
      place.position = {token.line, token.column};
      expected = kAfterName;
    } else if (token.text == ":" || token.text == ",") {
      expected = token.text == ":" || in_list ? kValue : kName;
    } else if (expected == kValue && token.text != "-") {
      expected = kName;
    }
  }
  return place;
}

/// Where the blocks of a path lead, or null.
const Descriptor* descend(const Descriptor& root, const std::vector<std::string>& blocks) {
  const Descriptor* type = &root;
  for (const std::string& name : blocks) {
    const FieldDescriptor* field = type->FindFieldByName(name);
    type = field == nullptr ? nullptr : field->message_type();
    if (type == nullptr) return nullptr;
  }
  return type;
}

bool starts_with(const std::string& text, std::string_view beginning) { return text.starts_with(beginning); }

/// protobuf's "Expected …" and "Invalid value …" in the words of the schema.
std::string wrong_value(const FieldDescriptor& field, const std::string& path, const Place& place,
                        const std::string& message) {
  const std::string found = place.token.empty() ? "the end of the file" : in_quotes(place.token);
  if (field.message_type() == nullptr && starts_with(message, "Expected \":\"")) {
    return path + " needs a \":\" and a value; found " + found;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL && starts_with(message, "Invalid value")) {
    // The value was read before it was looked at: the token is the one after it.
    const size_t begin = message.find("Value: \"");
    const size_t end = message.rfind('"');
    if (begin != std::string::npos && end > begin + 8) {
      return path + " takes true or false, not " + in_quotes(message.substr(begin + 8, end - begin - 8));
    }
  }
  if (starts_with(message, "Integer out of range")) {
    return path + " takes " + what_it_takes(field) + "; " + found + " does not fit its type";
  }
  if (starts_with(message, "Expected") || starts_with(message, "Expect a decimal")) {
    return path + " takes " + what_it_takes(field) + ", not " + found;
  }
  return path + ": " + message;
}

/// The first pair of double quotes in a message of protobuf after `from`.
std::string between_quotes(const std::string& message, size_t from = 0) {
  const size_t begin = message.find('"', from);
  if (begin == std::string::npos) return {};
  const size_t end = message.find('"', begin + 1);
  return end == std::string::npos ? std::string() : message.substr(begin + 1, end - begin - 1);
}

struct Report {
  Position position;
  Complaint complaint;
};

Report explain(const ParseError& error, const std::string& text, const Descriptor& root) {
  const Place place = find_place(text, error.position);
  const Descriptor* type = descend(root, place.blocks);
  if (type == nullptr || place.field.empty()) return {error.position, {error.message, {}}};

  if (error.message.find("has no field named") != std::string::npos) {
    if (type != &root && root.FindFieldByName(place.field) != nullptr) {
      return {place.position,
              {in_quotes(place.field) + " is a field of " + root.name() + ", not of " + type->name() +
                   "; is a \"}\" missing before it?",
               {}}};
    }
    return {place.position, unknown_field(place.field, *type, root)};
  }
  std::vector<std::string> names = place.blocks;
  names.push_back(place.field);
  const std::string path = join(names, ".");
  const FieldDescriptor* field = type->FindFieldByName(place.field);
  if (field == nullptr) return {error.position, {error.message, {}}};

  if (error.message.find("is specified multiple times") != std::string::npos) {
    return {place.position, {path + " is set twice", "keep one of the two"}};
  }
  if (error.message.find("is specified along with field") != std::string::npos) {
    const std::string other = between_quotes(error.message, error.message.find("along with field"));
    return {place.position, {path + " cannot stand beside " + in_quotes(other) + ": only one of them may be set", {}}};
  }
  if (starts_with(error.message, "Unknown enumeration value") && field->enum_type() != nullptr) {
    return {place.position, unknown_value(between_quotes(error.message), path, *field->enum_type())};
  }
  return {error.position, {wrong_value(*field, path, place, error.message), {}}};
}

}  // namespace

void parse_text(const std::string& text, const std::string& origin, google::protobuf::Message& message,
                google::protobuf::TextFormat::ParseInfoTree& locations) {
  constexpr int kDeepest = 64;
  FirstError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(&locations);
  parser.SetRecursionLimit(kDeepest);
  if (parser.ParseFromString(text, &message)) return;

  if (!errors.error) throw Error(ExitCode::kUsage, origin + ": not protobuf text format");
  const Report report = explain(*errors.error, text, *message.GetDescriptor());
  throw Error(ExitCode::kUsage,
              origin + ":" + std::to_string(report.position.first + 1) + ":" +
                  std::to_string(report.position.second + 1) + ": " + report.complaint.reason,
              report.complaint.hint);
}

}  // namespace tsugi
