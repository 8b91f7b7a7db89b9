// parse_manifest on any text: an Error(kData), or a manifest that is the same after being written and read, whose names
// stay in the folder.
//
// Input: u8 flags, then the text. Flag 1: its checksum is made right, so that what is behind it is reached.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/checkpoint/manifest.h"
#include "core/data/crc32c.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(manifest) {
  using namespace tsugi;
  if (input.empty()) return;
  const uint8_t flags = fuzzing::take(input, 1)[0];
  std::string text(fuzzing::as_text(input));
  if ((flags & 1) != 0) {
    nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_object() && json.contains("manifest")) {
      const std::string compact = json["manifest"].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      char checksum[9];
      std::snprintf(checksum, sizeof(checksum), "%08x", crc32c(std::as_bytes(std::span(compact))));
      json["crc32c"] = checksum;
      text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
  }
  fuzzing::refuse_or([&] {
    const Manifest manifest = parse_manifest(text, "input");
    CHECK_GE(manifest.world_size, 1);
    for (const auto& [name, file] : manifest.files) {
      check_file_name(name, "input");
      CHECK_GE(file.bytes, 0);
    }
    const std::string written = manifest_text(manifest);
    CHECK_EQ(manifest_text(parse_manifest(written, "written")), written);
  });
}
