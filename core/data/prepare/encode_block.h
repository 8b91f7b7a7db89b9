// What the second pass of `prepare` does with one block of text, on any rank.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/prepare/blocks.h"
#include "core/data/prepare/helpers.h"
#include "core/data/prepare/scan_block.h"
#include "core/data/tokenizer/tokenizer.h"

namespace tsugi {

struct EncodeBlockJob {
  const std::vector<InputFile>* files = nullptr;
  std::string field;
  int64_t max_line = 0;
  const Tokenizer* tokenizer = nullptr;
  std::optional<int32_t> end_of_text;
};

/// A document, or a part of one.
struct EncodedPiece {
  int64_t number = 0;
  size_t begin = 0;  ///< in EncodedBlock::ids
  size_t count = 0;
  int64_t text_bytes = 0;
  uint32_t file = 0;
  bool line = false;  ///< as in DocumentPiece
  int64_t place = 0;
  bool starts = true;
  bool ends = true;
  DocumentRecord whole = {};  ///< the hash of a document in one piece
  size_t text_begin = 0;      ///< of a part, in the text of its block
};
struct EncodedBlock {
  std::vector<int32_t> ids;
  std::vector<EncodedPiece> pieces;
  std::string text;  ///< only when it has parts
};

/// `kept`: not 0 for what is encoded, by the number of the document less block.first_document. Throws Error(kData)
/// naming file and place of text that cannot be encoded, or the file when there are more documents than `kept` has.
EncodedBlock encode_block(const EncodeBlockJob& job, const std::vector<uint8_t>& kept, TextBlock block);

/// The same on another rank, which has begun with this job.
void begin_encoding(HelperRanks& helpers, const EncodeBlockJob& job);
EncodedBlock ask_to_encode(HelperRanks& helpers, const std::vector<uint8_t>& kept, const TextBlock& block);
/// What begin_encoding() described, for serve_requests().
RequestWork encode_work(std::string_view setup);

/// `path` is not what it was when it was scanned.
Error changed_file(const std::string& path);

}  // namespace tsugi
