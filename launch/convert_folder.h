// From one Hugging Face folder to another: what `tsugi import` and `tsugi export` do.
#pragma once

#include <cstdint>
#include <string>

#include "core/model/huggingface.h"

namespace tsugi {

struct ConvertOptions {
  std::string from;                         ///< a Hugging Face folder, a checkpoint, or a run directory (newest)
  std::string out;                          ///< must not exist, or be empty
  std::string dtype;                        ///< "f32", "bf16", "f16"; empty: each tensor as it is stored
  int64_t vocabulary = 0;                   ///< rows of the token tables afterwards; 0: as they are
  int64_t max_shard_bytes = 5'000'000'000;  ///< larger weights go into several files
};

struct Converted {
  std::string from;
  HuggingfaceModel description;  ///< of what was written
  int64_t parameters = 0;
  int64_t bytes = 0;  ///< of the tensors
};

/// Checks every tensor of `from` against its config.json (missing, extra, another shape, not finite), and writes the
/// folder anew with the names that transformers gives them, config.json and the tokenizer's files. A larger vocabulary
/// gets rows that are the mean of the old ones, a smaller one loses its last rows; Error(kUsage) when tokenizer.json or
/// config.json would still name one of them. All or nothing: `out` appears when it is complete.
Converted convert_folder(const ConvertOptions& options);

}  // namespace tsugi
