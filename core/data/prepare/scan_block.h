// What the first pass of `prepare` does with one block of text, on any rank.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/hash.h"
#include "core/data/prepare/blocks.h"
#include "core/data/prepare/helpers.h"
#include "core/data/tokenizer/tokenizer.h"

namespace tsugi {

/// What is noted of a document, 24 bytes in a work file.
struct DocumentRecord {
  uint64_t hash = 0;    ///< XXH64; decides the side
  uint64_t second = 0;  ///< XXH64 with another seed: equal documents are those of which both are equal
  int64_t tokens = 0;   ///< 0 where they are not counted
};

/// Both hashes of text that comes in pieces.
class DocumentHash {
 public:
  void update(std::string_view text);
  /// Without tokens.
  DocumentRecord record() const;

 private:
  static constexpr uint64_t kSecondSeed = 0x7473756769646F63;
  Hash64 first_;
  Hash64 second_{kSecondSeed};
};

/// How the tokens of a document are counted.
enum class Counting { kNot, kBytes, kCodePoints, kEncode };

struct ScanBlockJob {
  const std::vector<InputFile>* files = nullptr;
  std::string field;
  int64_t max_line = 0;
  Counting counting = Counting::kNot;
  const Tokenizer* tokenizer = nullptr;  ///< for kEncode
  int64_t end_tokens = 0;                ///< counted for each document beside its own
};

/// A document, or a part of one whose hash is not known yet.
struct ScannedDocument {
  DocumentRecord record;
  uint32_t file = 0;
  bool starts = true;
  bool ends = true;
  size_t begin = 0;  ///< of a part, in the text of its block
  size_t length = 0;
};
struct ScannedBlock {
  std::vector<ScannedDocument> documents;
  std::string text;  ///< only when it has parts
  int64_t empty = 0;
  std::vector<char32_t> code_points;  ///< that occur, ascending; for kCodePoints
};

/// Throws Error(kData) naming file, line or byte, and reason.
ScannedBlock scan_block(const ScanBlockJob& job, TextBlock block);

/// The same on another rank, which has begun with this job.
void begin_scan(HelperRanks& helpers, const ScanBlockJob& job);
ScannedBlock ask_to_scan(HelperRanks& helpers, const TextBlock& block);
/// What begin_scan() described, for serve_requests().
RequestWork scan_work(std::string_view setup);

}  // namespace tsugi
