// Text files cut into blocks of about equal size, each of whole documents where these are not larger than a block.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/input_stream.h"
#include "core/data/prepare/inputs.h"
#include "ops/base/error.h"

namespace tsugi {

/// A run of bytes of one file: a document or a part of one, or lines of JSON.
struct TextPiece {
  uint32_t file = 0;
  bool lines = false;
  bool starts = true;  ///< with its first byte a document starts
  bool ends = true;    ///< with its last byte a document ends
  int64_t place = 0;   ///< of its first byte in the (decompressed) file; of lines: the number of the first, from 1
  size_t begin = 0;    ///< in TextBlock::text
  size_t length = 0;
};

struct TextBlock {
  std::string text;
  std::vector<TextPiece> pieces;
  int64_t first_document = 0;  ///< how many documents that are not empty came before it
};

/// Where a block starts.
struct BlockState {
  uint32_t file = 0;
  bool inside = false;  ///< a document started in the block before
  bool line_start = true;
  int64_t offset = 0;
  int64_t line = 1;
};

struct BlockOptions {
  /// If not empty: a line that consists of it (then LF, CRLF or the end of the file) ends a document of a text file.
  std::string separator;
  int64_t block_bytes = 1 << 20;
  /// Longest document of a text file, or line; longer is an Error(kData).
  int64_t max_document_bytes = 1 << 28;
  /// Documents may be cut anywhere between code points: then those of text files have no limit.
  bool cuttable = false;
};

/// "PLACE: longer than LIMIT bytes", with what to do about it.
Error too_long(const std::string& place, int64_t limit);

/// Where the blocks are cut depends on files and options alone, so that any block can be read again from its state.
class BlockReader {
 public:
  /// `files` must outlive the reader.
  BlockReader(const std::vector<InputFile>& files, BlockOptions options, BlockState start = {});

  /// False at the end. Throws Error naming file and reason.
  bool next(TextBlock& block);
  /// Where the next block starts.
  const BlockState& state() const { return state_; }
  /// Bytes of the files, compressed or not, that were read.
  int64_t consumed() const { return before_ + (stream_ ? stream_->consumed() : 0); }

 private:
  struct Separator {
    size_t begin = std::string_view::npos;
    size_t end = 0;
  };

  const InputFile& file() const { return files_[state_.file]; }
  std::string_view available() const { return std::string_view(buffer_).substr(begin_); }
  void open_file();
  void close_file();
  /// Reads until `wanted` bytes are available or the file has ended.
  void fill(size_t wanted);
  void take_lines(TextBlock& block);
  void take_text(TextBlock& block);
  Separator find_separator();
  void emit(TextBlock& block, size_t length, bool ends);
  void consume(size_t length);
  size_t safe_cut() const;

  const std::vector<InputFile>& files_;
  BlockOptions options_;
  BlockState state_;
  std::unique_ptr<InputStream> stream_;
  std::string buffer_;
  size_t begin_ = 0;     ///< of what is not taken yet
  size_t searched_ = 0;  ///< bytes of available() in which no separator starts
  bool ended_ = false;
  int64_t before_ = 0;  ///< consumed() of the files before
};

}  // namespace tsugi
