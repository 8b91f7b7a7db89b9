// The first pass of `prepare`: reads all text and notes per document what decides about it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/data/prepare.h"
#include "core/data/prepare/blocks.h"
#include "core/data/prepare/helpers.h"
#include "core/data/prepare/scan_block.h"

namespace tsugi {

struct BlockStart {
  BlockState state;
  int64_t document = 0;  ///< documents, not counting empty ones, that ended before it
};

struct Scan {
  int64_t documents = 0;             ///< not counting empty ones; as many records
  int64_t validation_documents = 0;  ///< the first of them: from the text that was given for validation
  int64_t empty = 0;
  std::vector<BlockStart> blocks;
  std::vector<char32_t> code_points;  ///< that occur, ascending; for a vocabulary of characters
};

struct ScanJob {
  ScanBlockJob block;
  size_t validation_files = 0;  ///< the first of the files
  BlockOptions blocks;
  PieceWorkers workers;
  std::string record_file;
  std::function<void(int64_t consumed, int64_t documents)> on_progress;
};

/// Throws Error(kData) naming file, line or byte, and reason.
Scan scan_documents(const ScanJob& job);

/// What becomes of each document. 2 bits each.
struct Decisions {
  std::vector<bool> kept;
  std::vector<bool> validation;
  int64_t duplicates = 0;
  int64_t train_documents = 0;  ///< kept ones
  int64_t validation_documents = 0;
  /// The document that the border of the split "tail" cuts, and how many of its tokens are for training.
  int64_t tail_document = -1;
  int64_t tail_tokens = 0;
};

/// Keeps the first of equal documents. At most about `memory` bytes beside the result: the records are read once for
/// every memory / 25 of them.
Decisions decide(const Scan& scan, const std::string& record_file, const PrepareOptions& options, int64_t memory);

/// Records in order.
class RecordReader {
 public:
  RecordReader(const std::string& path, int64_t first);
  /// Throws Error(kData) when there is none: the work file was cut.
  DocumentRecord next();

 private:
  std::string path_;
  std::unique_ptr<InputStream> stream_;
  std::vector<DocumentRecord> buffer_;
  size_t position_ = 0;
};

}  // namespace tsugi
