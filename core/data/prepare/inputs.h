// The files that a command line names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/data/prepare.h"

namespace tsugi {

struct InputFile {
  std::string path;
  bool lines = false;    ///< JSON objects, one per line; else text
  int64_t bytes = 0;     ///< on disk
  int64_t modified = 0;  ///< nanoseconds since 1970
};

/// Files as they are named, what patterns match, and of folders every text and JSONL file at any depth, by their names
/// (.txt, .jsonl, .ndjson, also with .gz or .zst); in the order of `inputs`, of a pattern or folder sorted by path.
/// Throws Error(kData) when a pattern or folder has none, Error(kInputOutput) when something is not there.
std::vector<InputFile> list_inputs(const std::vector<std::string>& inputs, PrepareOptions::Format format);

}  // namespace tsugi
