#include "core/checkpoint/manifest.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "core/data/crc32c.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kVersion = 1;
constexpr int64_t kMaxBytes = int64_t{1} << 26;
constexpr int kMaxWorld = 1 << 20;
constexpr int64_t kMaxNumber = 1'000'000'000'000'000;

std::string hex(uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof(text), "%08x", value);
  return text;
}

uint32_t require_crc(const JsonValue& object, std::string_view key) {
  const JsonValue value = object.require(key);
  const std::string text = value.as_string();
  if (text.size() != 8 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw value.error("must be 8 hexadecimal digits");
  }
  return static_cast<uint32_t>(std::stoul(text, nullptr, 16));
}

uint32_t crc_of(const std::string& text) { return crc32c(std::as_bytes(std::span(text))); }

}  // namespace

std::string shard_file(int rank, int world_size) {
  char text[64];
  std::snprintf(text, sizeof(text), "state/shard-%05d-of-%05d.safetensors", rank, world_size);
  return text;
}

std::string manifest_text(const Manifest& manifest) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [name, file] : manifest.files) files[name] = {{"bytes", file.bytes}, {"crc32c", hex(file.crc32c)}};
  const nlohmann::json content = {{"version", kVersion},
                                  {"step", manifest.step},
                                  {"generation", manifest.generation},
                                  {"world_size", manifest.world_size},
                                  {"config_crc32c", hex(manifest.config_crc32c)},
                                  {"files", files}};
  return nlohmann::json{{"crc32c", hex(crc_of(content.dump()))}, {"manifest", content}}.dump(1) + "\n";
}

Manifest parse_manifest(std::string_view text, const std::string& origin) {
  const JsonValue root = parse_json(text, origin);
  const JsonValue content = root.require_object("manifest");
  const int64_t version = content.require_int("version", 1);
  if (version != kVersion) {
    throw content.error("version " + std::to_string(version) + " is newer than this program, which reads version " +
                        std::to_string(kVersion));
  }
  if (crc_of(content.raw().dump()) != require_crc(root, "crc32c")) {
    throw root.error("the checksum does not fit: the file was changed or damaged");
  }
  Manifest manifest;
  manifest.step = content.require_int("step", 0, kMaxNumber);
  manifest.generation = content.require_int("generation", 1, kMaxNumber);
  manifest.world_size = static_cast<int>(content.require_int("world_size", 1, kMaxWorld));
  manifest.config_crc32c = require_crc(content, "config_crc32c");
  int shards = 0;
  for (const auto& [name, file] : content.require_object("files").members()) {
    check_file_name(name, origin);
    if (name == kManifestFile) throw file.error("a manifest does not list itself");
    if (name.starts_with("state/shard-")) ++shards;
    manifest.files[name] = {file.require_int("bytes", 0), require_crc(file, "crc32c")};
  }
  const auto need = [&](const std::string& name) {
    if (!manifest.files.contains(name)) throw content.error("lists no " + name);
  };
  if (!manifest.files.contains(kAdapterFile)) need(kModelFile);
  need(kRunFile);
  for (int rank = 0; rank < manifest.world_size; ++rank) need(shard_file(rank, manifest.world_size));
  if (shards != manifest.world_size) throw content.error("lists state shards of another number of ranks");
  return manifest;
}

Manifest read_manifest(const Folder& checkpoint) {
  return parse_manifest(checkpoint.read_text(kManifestFile, kMaxBytes), checkpoint.path() + "/" + kManifestFile);
}

void verify_file(const Folder& checkpoint, const std::string& name, const ManifestFile& expected) {
  const File file = checkpoint.open(name);
  // The length first: it costs nothing, and says more than a checksum.
  int64_t bytes = file.size();
  uint32_t crc = expected.crc32c;
  if (bytes == expected.bytes) crc = file.checksum(bytes);
  if (bytes != expected.bytes) {
    throw Error(ExitCode::kData, file.path() + ": " + std::to_string(bytes) + " bytes long, the manifest says " +
                                     std::to_string(expected.bytes));
  }
  if (crc != expected.crc32c) {
    throw Error(ExitCode::kData, file.path() + ": CRC32C is " + hex(crc) + ", the manifest says " +
                                     hex(expected.crc32c) + ": the content is damaged");
  }
}

}  // namespace tsugi
