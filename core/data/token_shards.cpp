#include "core/data/token_shards.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/json.h"
#include "ops/base/checked.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr const char* kFormat = "tsugi token shards";
constexpr int64_t kIndexVersion = 1;
constexpr int64_t kMaxShardIndexBytes = int64_t{1} << 28;
constexpr int64_t kMaxShardTokens = int64_t{1} << 60;

std::string hexadecimal(uint64_t value, size_t digits) {
  std::string text(digits, '0');
  for (size_t i = digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

uint64_t parse_hexadecimal(const JsonValue& object, std::string_view key, size_t digits) {
  const std::string text = object.require_string(key);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (text.size() != digits || error != std::errc() || end != text.data() + text.size()) {
    throw object.require(key).error("must be " + std::to_string(digits) + " hexadecimal digits");
  }
  return value;
}

/// A name in the same folder and nothing else.
bool is_plain_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= 255 && name[0] != '.' && std::ranges::all_of(name, allowed);
}

/// All of the index that the hash covers.
nlohmann::ordered_json to_json(const ShardIndex& index) {
  nlohmann::ordered_json shards = nlohmann::ordered_json::array();
  for (const ShardIndex::Shard& shard : index.shards) {
    shards.push_back({{"file", shard.file},
                      {"tokens", shard.tokens},
                      {"documents", shard.documents},
                      {"bytes", shard.bytes},
                      {"crc32c", hexadecimal(shard.crc32c, 8)}});
  }
  return {{"format", kFormat},      {"version", kIndexVersion},     {"vocabulary", index.vocabulary},
          {"tokens", index.tokens}, {"documents", index.documents}, {"shards", std::move(shards)}};
}

uint64_t hash_of(const ShardIndex& index) {
  const std::string text = to_json(index).dump();
  return hash64(std::as_bytes(std::span(text.data(), text.size())));
}

void add_up(ShardIndex& index) {
  index.tokens = 0;
  index.documents = 0;
  for (const ShardIndex::Shard& shard : index.shards) {
    index.tokens = checked_add(index.tokens, shard.tokens, index.path + ": number of tokens");
    index.documents = checked_add(index.documents, shard.documents, index.path + ": number of documents");
  }
}

}  // namespace

std::string ShardIndex::path_of(const Shard& shard) const {
  return (std::filesystem::path(path).parent_path() / shard.file).string();
}

ShardIndex read_shard_index(const std::string& path) {
  const JsonValue json = read_json(path, kMaxShardIndexBytes, 4);
  json.require_only({"format", "version", "vocabulary", "tokens", "documents", "shards", "hash"});
  if (json.require_string("format") != kFormat) {
    throw json.require("format").error(std::string("must be \"") + kFormat + "\"");
  }
  if (json.require_int("version") != kIndexVersion) throw json.require("version").error("is not known; known is 1");
  ShardIndex index;
  index.path = path;
  index.vocabulary = json.require_int("vocabulary", 1, int64_t{1} << 31);
  for (const JsonValue& one : json.require_array("shards").elements()) {
    one.require_only({"file", "tokens", "documents", "bytes", "crc32c"});
    ShardIndex::Shard shard;
    shard.file = one.require_string("file");
    if (!is_plain_name(shard.file)) {
      throw one.require("file").error(
          "must be the name of a file in the same folder, of letters, digits, '.', '_', '-'");
    }
    shard.tokens = one.require_int("tokens", 1, kMaxShardTokens);
    shard.documents = one.require_int("documents", 0, shard.tokens);
    shard.bytes = one.require_int("bytes", 1, kMaxShardTokens);
    shard.crc32c = static_cast<uint32_t>(parse_hexadecimal(one, "crc32c", 8));
    index.shards.push_back(std::move(shard));
  }
  if (index.shards.empty()) throw json.require("shards").error("must not be empty");
  add_up(index);
  if (json.require_int("tokens") != index.tokens) throw json.require("tokens").error("is not the sum over the shards");
  if (json.require_int("documents") != index.documents) {
    throw json.require("documents").error("is not the sum over the shards");
  }
  index.hash = parse_hexadecimal(json, "hash", 16);
  if (index.hash != hash_of(index)) {
    throw json.require("hash").error("differs from that of the index: damaged or edited", "prepare the text again");
  }
  return index;
}

void write_shard_index(ShardIndex& index) {
  add_up(index);
  index.hash = hash_of(index);
  nlohmann::ordered_json json = to_json(index);
  json["hash"] = hexadecimal(index.hash, 16);
  write_file_durably(index.path, json.dump(1) + '\n');
  if (::chmod(index.path.c_str(), 0444) != 0) throw file_error("make read-only", index.path);
}

void check_shard(const ShardIndex& index, const ShardIndex::Shard& shard, const TokenPart& part) {
  const auto differs = [&](const char* what, int64_t expected, int64_t found) {
    if (expected == found) return;
    fail_token_file(
        part.path,
        "has " + std::to_string(found) + " " + what + "; " + index.path + " says " + std::to_string(expected),
        "the shard was replaced or damaged; prepare the text again");
  };
  differs("bytes", shard.bytes, static_cast<int64_t>(part.file.bytes().size()));
  differs("tokens", shard.tokens, part.tokens);
  differs("documents", shard.documents, static_cast<int64_t>(part.documents.size()));
  differs("ids in its vocabulary", index.vocabulary, part.vocabulary);
}

void verify_shards(const ShardIndex& index) {
  for (const ShardIndex::Shard& shard : index.shards) {
    const std::string path = index.path_of(shard);
    const MappedFile file(path);
    if (static_cast<int64_t>(file.bytes().size()) == shard.bytes && crc32c(file.bytes()) == shard.crc32c) continue;
    fail_token_file(path, "its checksum or size is not that of " + index.path, "damaged; prepare the text again");
  }
}

}  // namespace tsugi
