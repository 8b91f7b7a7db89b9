#include "core/data/prepare/blocks.h"

#include <algorithm>

namespace tsugi {
namespace {

constexpr size_t kMaxPieces = 1 << 16;
constexpr size_t kNone = std::string_view::npos;

}  // namespace

Error too_long(const std::string& place, int64_t limit) {
  return Error(ExitCode::kData, place + ": longer than " + std::to_string(limit) + " bytes",
               "raise --max-document-bytes (memory grows with it), or cut text by --separator");
}

BlockReader::BlockReader(const std::vector<InputFile>& files, BlockOptions options, BlockState start)
    : files_(files), options_(std::move(options)), state_(start) {
  for (uint32_t i = 0; i < start.file; ++i) before_ += files_[i].bytes;
}

bool BlockReader::next(TextBlock& block) {
  block = {};
  const auto target = static_cast<size_t>(options_.block_bytes);
  while (block.text.size() < target && block.pieces.size() < kMaxPieces && state_.file < files_.size()) {
    if (!stream_) open_file();
    if (file().lines) {
      take_lines(block);
    } else {
      take_text(block);
    }
  }
  return !block.pieces.empty();
}

void BlockReader::open_file() {
  stream_ = InputStream::open(file().path);
  stream_->skip_to(state_.offset);
  buffer_.clear();
  begin_ = 0;
  searched_ = 0;
  ended_ = false;
}

void BlockReader::close_file() {
  before_ += stream_->consumed();
  stream_.reset();
  state_ = {.file = state_.file + 1};
}

void BlockReader::fill(size_t wanted) {
  constexpr size_t kLeast = 1 << 20;
  while (!ended_ && buffer_.size() - begin_ < wanted) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const size_t size = buffer_.size();
    const size_t more = std::max(wanted - size, kLeast);
    buffer_.resize(size + more);
    const size_t got = stream_->read({buffer_.data() + size, more});
    buffer_.resize(size + got);
    ended_ = got < more;
  }
}

void BlockReader::consume(size_t length) {
  if (length > 0) state_.line_start = buffer_[begin_ + length - 1] == '\n';
  begin_ += length;
  state_.offset += static_cast<int64_t>(length);
  searched_ = 0;
}

void BlockReader::emit(TextBlock& block, size_t length, bool ends) {
  TextPiece piece;
  piece.file = state_.file;
  piece.lines = file().lines;
  piece.starts = !state_.inside;
  piece.ends = ends;
  piece.place = piece.lines ? state_.line : state_.offset;
  piece.begin = block.text.size();
  piece.length = length;
  const std::string_view text = available().substr(0, length);
  block.text += text;
  block.pieces.push_back(piece);
  if (piece.lines) state_.line += std::ranges::count(text, '\n');
  state_.inside = !ends;
  consume(length);
}

void BlockReader::take_lines(TextBlock& block) {
  // Up to the first end of a line with which the block is full.
  const size_t full = static_cast<size_t>(options_.block_bytes) - block.text.size() - 1;
  for (size_t searched = full;;) {
    fill(searched + 1);
    const std::string_view text = available();
    const size_t end = text.size() > searched ? text.find('\n', searched) : kNone;
    if (end != kNone) {
      emit(block, end + 1, true);
      return;
    }
    if (ended_) {
      if (!text.empty()) emit(block, text.size(), true);
      close_file();
      return;
    }
    const size_t line = text.rfind('\n') + 1;  // 0 when there is none
    if (static_cast<int64_t>(text.size() - line) > options_.max_document_bytes) {
      const int64_t number = state_.line + std::ranges::count(text, '\n');
      throw too_long(file().path + ": line " + std::to_string(number), options_.max_document_bytes);
    }
    searched = std::max(searched, text.size());
  }
}

BlockReader::Separator BlockReader::find_separator() {
  const std::string& separator = options_.separator;
  const std::string_view text = available();
  if (separator.empty()) {
    searched_ = text.size();
    return {};
  }
  for (;;) {
    const size_t found = text.find(separator, searched_);
    if (found == kNone) {
      // Its beginning may be at hand already.
      const size_t tail = std::min(text.size(), separator.size() - 1);
      searched_ = std::max(searched_, text.size() - tail);
      return {};
    }
    size_t end = found + separator.size();
    if (!ended_ && end + 2 > text.size()) {
      searched_ = found;
      return {};
    }
    const bool line_start = found == 0 ? state_.line_start : text[found - 1] == '\n';
    if (end < text.size() && text[end] == '\r') ++end;
    if (line_start && (end >= text.size() || text[end] == '\n')) return {found, std::min(end + 1, text.size())};
    searched_ = found + 1;
  }
}

size_t BlockReader::safe_cut() const {
  const std::string_view text = available().substr(0, static_cast<size_t>(options_.block_bytes));
  const size_t line = text.rfind('\n');
  if (line != kNone) return line + 1;
  // Between code points: not before a continuation byte, if these are no more than UTF-8 has.
  const std::string_view all = available();
  size_t cut = text.size();
  for (int i = 0; i < 3 && cut > 1 && (static_cast<unsigned char>(all[cut]) & 0xC0) == 0x80; ++i) --cut;
  return cut;
}

void BlockReader::take_text(TextBlock& block) {
  const auto window = static_cast<size_t>(options_.block_bytes);
  const size_t look_ahead = options_.separator.size() + 2;
  fill(window + look_ahead);
  for (;;) {
    const Separator separator = find_separator();
    const size_t rest = separator.begin != kNone ? separator.begin : available().size();
    const bool complete = separator.begin != kNone || ended_;
    if (options_.cuttable && rest > window) {
      emit(block, safe_cut(), false);
      return;
    }
    if (static_cast<int64_t>(rest) > options_.max_document_bytes) {
      throw too_long(file().path + ": the document at byte " + std::to_string(state_.offset),
                     options_.max_document_bytes);
    }
    if (complete) {
      emit(block, rest, true);
      if (separator.begin != kNone) {
        consume(separator.end - separator.begin);
        state_.line_start = true;
      } else {
        close_file();
      }
      return;
    }
    fill(available().size() + window);
  }
}

}  // namespace tsugi
