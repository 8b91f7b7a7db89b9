// manifest.json: what makes a folder a checkpoint. It lists every file with length and CRC32C and carries a checksum of
// itself, so that no flipped bit in it passes unseen. A folder without a valid one does not exist.
//
//   {"crc32c": "0d9a1b2c",                 of the compact form of "manifest" (keys sorted, no spaces)
//    "manifest": {"version": 1, "step": 1000, "generation": 2, "world_size": 2, "config_crc32c": "5e0f1a22",
//                 "files": {"model.safetensors": {"bytes": 8104, "crc32c": "9c1185a5"}, …}}}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/checkpoint/folder.h"

namespace tsugi {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kModelFile = "model.safetensors";
/// In its place where only an adapter was trained: PEFT's names.
inline constexpr const char* kAdapterFile = "adapter_model.safetensors";
inline constexpr const char* kAdapterConfigFile = "adapter_config.json";
inline constexpr const char* kRunFile = "state/run.json";

struct ManifestFile {
  int64_t bytes = 0;
  uint32_t crc32c = 0;
};

struct Manifest {
  int64_t step = 0;
  int64_t generation = 0;      ///< attempt that wrote it
  int world_size = 0;          ///< ranks that wrote it: as many state shards
  uint32_t config_crc32c = 0;  ///< of the resolved RunConfig's text
  std::map<std::string, ManifestFile> files;
};

/// "state/shard-00001-of-00004.safetensors"
std::string shard_file(int rank, int world_size);

std::string manifest_text(const Manifest& manifest);

/// Throws Error(kData): another version, a checksum that does not fit, names that lead out of the folder, files that
/// every checkpoint has but this one lacks.
Manifest parse_manifest(std::string_view text, const std::string& origin);
Manifest read_manifest(const Folder& checkpoint);

/// Reads the file and compares length and CRC32C. Throws Error(kData) naming it.
void verify_file(const Folder& checkpoint, const std::string& name, const ManifestFile& expected);

}  // namespace tsugi
