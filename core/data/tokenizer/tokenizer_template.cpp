#include "core/data/tokenizer/tokenizer_template.h"

#include <map>
#include <optional>
#include <string>

namespace tsugi {
namespace {

using TemplateIds = std::vector<int32_t>;

std::map<std::string, TemplateIds> read_special_tokens(const JsonValue& list, const Tokenizer& tokenizer) {
  std::map<std::string, TemplateIds> result;
  for (const auto& [name, element] : list.members()) {
    element.require_only({"id", "ids", "tokens"});
    if (element.require_string("id") != name) throw element.require("id").error("is not its key");
    const std::vector<JsonValue> ids = element.require_array("ids").elements();
    const std::vector<JsonValue> tokens = element.require_array("tokens").elements();
    if (ids.size() != tokens.size()) throw element.error("has not as many ids as tokens");
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto id = static_cast<int32_t>(ids[i].as_int(0, tokenizer.vocabulary() - 1));
      if (tokenizer.find_token(tokens[i].as_string()) != id) throw ids[i].error("is not the id of its token");
      result[name].push_back(id);
    }
  }
  return result;
}

/// The members of one piece of a template: {"Sequence": {…}} or {"SpecialToken": {…}}.
TokenTemplate read_pieces(const JsonValue& pieces, const std::map<std::string, TemplateIds>& special,
                          int64_t sequences) {
  TokenTemplate result;
  int64_t seen = 0;
  for (const JsonValue& piece : pieces.elements()) {
    piece.require_only({"Sequence", "SpecialToken"});
    if (piece.size() != 1) throw piece.error("must have one member");
    const bool sequence = piece.has("Sequence");
    const JsonValue inside = piece.require_object(sequence ? "Sequence" : "SpecialToken");
    inside.require_only({"id", "type_id"});
    inside.require_int("type_id", 0, 1 << 16);
    const std::string id = inside.require_string("id");
    if (sequence) {
      if (id != "A" && (sequences < 2 || id != "B"))
        throw inside.require("id").error("is not a sequence of the template");
      ++seen;
      continue;
    }
    const auto found = special.find(id);
    if (found == special.end()) throw inside.require("id").error("is not in special_tokens");
    TemplateIds& side = seen == 0 ? result.before : result.after;
    side.insert(side.end(), found->second.begin(), found->second.end());
  }
  if (seen != sequences)
    throw pieces.error("must have the text " + std::string(sequences == 1 ? "once" : "and its pair"));
  return result;
}

/// ["[CLS]", 101]: a token and its id.
int32_t read_pair(const JsonValue& element, const char* field, const Tokenizer& tokenizer) {
  const JsonValue pair = element.require_array(field);
  const std::vector<JsonValue> parts = pair.elements();
  if (parts.size() != 2) throw pair.error("is not a token and its id");
  const std::optional<int32_t> known = tokenizer.find_token(parts[0].as_string());
  if (!known || *known != parts[1].as_int()) throw pair.error("is no token of the vocabulary with this id");
  return *known;
}

}  // namespace

TokenTemplate read_template(const JsonValue& element, const Tokenizer& tokenizer) {
  if (element.is_null()) return {};
  const std::string type = element.require_string("type");
  if (type == "ByteLevel") {
    element.require_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return {};
  }
  if (type == "TemplateProcessing") {
    element.require_only({"type", "single", "pair", "special_tokens"});
    const std::map<std::string, TemplateIds> special =
        read_special_tokens(element.require_object("special_tokens"), tokenizer);
    read_pieces(element.require_array("pair"), special, 2);
    return read_pieces(element.require_array("single"), special, 1);
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    element.require_only({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
    return {{read_pair(element, "cls", tokenizer)}, {read_pair(element, "sep", tokenizer)}};
  }
  if (type != "Sequence") {
    throw element.require("type").error(
        "\"" + type.substr(0, 80) + "\" is not supported",
        "tsugi reads ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing and "
        "Sequence");
  }
  element.require_only({"type", "processors"});
  TokenTemplate result;
  for (const JsonValue& one : element.require_array("processors").elements()) {
    const TokenTemplate outer = read_template(one, tokenizer);
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

}  // namespace tsugi
