#include "core/data/prepare/encode.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/data/prepare/documents.h"
#include "core/data/prepare/pipeline.h"
#include "core/data/prepare/side_writer.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// What becomes of a block, and where the next one starts.
struct Encoded {
  EncodedBlock block;
  int64_t consumed = 0;
  BlockState next;
};
struct Input {
  TextBlock block;
  std::vector<uint8_t> kept;  ///< for encode_block()
  int64_t consumed = 0;
  BlockState next;
};

class BlockEncoder {
 public:
  BlockEncoder(const EncodeJob& job, const WorkFolder& work) : job_(job), work_(work) {}

  EncodeState run() {
    resume();
    if (state_.finished) return state_;
    const BlockStart start = state_.next_block < static_cast<int64_t>(job_.scan->blocks.size())
                                 ? job_.scan->blocks[static_cast<size_t>(state_.next_block)]
                                 : BlockStart{{.file = static_cast<uint32_t>(job_.block.files->size())}, documents()};
    BlockReader reader(*job_.block.files, job_.blocks, start.state);
    resumed_ = reader.consumed();
    records_.emplace(work_.path("documents.scan"), start.document);
    next_document_ = start.document;
    auto block_number = static_cast<size_t>(state_.next_block);
    if (job_.workers.helpers != nullptr) begin_encoding(*job_.workers.helpers, job_.block);
    run_in_order<Input, Encoded>(
        job_.workers.count(), job_.workers.limit(),
        [&]() -> std::optional<Input> {
          Input input;
          if (!reader.next(input.block)) return std::nullopt;
          if (block_number >= job_.scan->blocks.size()) throw changed(input.block);
          input.block.first_document = job_.scan->blocks[block_number].document;
          input.kept = kept_in(block_number++);
          input.consumed = reader.consumed();
          input.next = reader.state();
          return input;
        },
        [&](Input input, int worker) { return encode(std::move(input), worker); },
        [&](const Encoded& encoded) { consume(encoded); });
    if (next_document_ != documents()) {
      throw Error(ExitCode::kData, job_.block.files->back().path + ": this or another file changed while it was read");
    }
    finish();
    return state_;
  }

 private:
  int64_t documents() const { return job_.scan->documents; }
  Error changed(const TextBlock& block) const {
    return changed_file((*job_.block.files)[block.pieces.front().file].path);
  }

  void resume() {
    if (std::optional<EncodeState> known = work_.load_progress()) {
      state_ = std::move(*known);
      if (state_.finished) return;
      try {
        open_sides();
        return;
      } catch (const Error&) {
        // What the work files hold is not what was noted: all of it is made again.
        sides_.clear();
        state_ = {};
        work_.discard_progress();
      }
    }
    open_sides();
  }

  void open_sides() {
    for (size_t side = 0; side < 2; ++side) {
      sides_.push_back(std::make_unique<SideWriter>(work_.folder(), side == 0 ? "train" : "validation",
                                                    job_.block.tokenizer->vocabulary(), job_.shard_tokens,
                                                    state_.sides[side]));
    }
  }

  Encoded encode(Input input, int worker) const {
    EncodedBlock block = job_.workers.here(worker) ? encode_block(job_.block, input.kept, std::move(input.block))
                                                   : ask_to_encode(*job_.workers.helpers, input.kept, input.block);
    return {std::move(block), input.consumed, input.next};
  }

  /// Of the documents that block `number` may have.
  std::vector<uint8_t> kept_in(size_t number) const {
    const std::vector<BlockStart>& blocks = job_.scan->blocks;
    const int64_t end =
        number + 1 < blocks.size() ? std::min(blocks[number + 1].document + 1, documents()) : documents();
    std::vector<uint8_t> kept;
    for (int64_t i = blocks[number].document; i < end; ++i) {
      kept.push_back(job_.decisions->kept[static_cast<size_t>(i)] ? 1 : 0);
    }
    return kept;
  }

  void consume(const Encoded& encoded) {
    for (const EncodedPiece& piece : encoded.block.pieces) consume(encoded.block, piece);
    ++state_.next_block;
    if (job_.on_progress) {
      const int64_t tokens = sides_[0]->written().tokens + sides_[1]->written().tokens;
      job_.on_progress(encoded.consumed, next_document_, tokens, resumed_);
    }
    if (++unsaved_ >= job_.sync_blocks && !encoded.next.inside) save();
  }

  std::string place_of(const EncodedPiece& piece) const {
    return tsugi::place_of(*job_.block.files, {.file = piece.file, .line = piece.line, .place = piece.place});
  }

  void consume(const EncodedBlock& block, const EncodedPiece& piece) {
    const auto number = static_cast<size_t>(piece.number);
    if (piece.starts) {
      if (piece.number != next_document_) throw changed_file(place_of(piece));
      record_ = records_->next();
      hash_ = DocumentHash();
      tokens_ = 0;
      bytes_ = 0;
      place_ = place_of(piece);
    }
    const std::span<const int32_t> ids = std::span(block.ids).subspan(piece.begin, piece.count);
    const bool whole = piece.starts && piece.ends;
    if (!whole) {
      hash_.update(std::string_view(block.text).substr(piece.text_begin, static_cast<size_t>(piece.text_bytes)));
    }
    if (job_.decisions->kept[number]) write(piece, ids);
    tokens_ += static_cast<int64_t>(ids.size());
    bytes_ += piece.text_bytes;
    if (!piece.ends) return;
    const DocumentRecord found = whole ? piece.whole : hash_.record();
    if (found.hash != record_.hash || found.second != record_.second) {
      throw changed_file(place_);
    }
    if (tokens_ > state_.longest.tokens) state_.longest = {tokens_, bytes_, place_};
    ++next_document_;
  }

  void write(const EncodedPiece& piece, std::span<const int32_t> ids) {
    const Decisions& decisions = *job_.decisions;
    const bool counted = record_.tokens > 0;
    const int64_t all = counted ? record_.tokens : static_cast<int64_t>(ids.size());
    int64_t text_bytes = piece.text_bytes;
    if (piece.number == decisions.tail_document) {
      // The border is in this document: its first tokens are for training, as a document of their own.
      const auto before = static_cast<size_t>(
          std::clamp<int64_t>(decisions.tail_tokens - tokens_, 0, static_cast<int64_t>(ids.size())));
      if (before > 0) {
        if (piece.starts) sides_[0]->start_document(decisions.tail_tokens);
        const std::vector<int32_t> head(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(before));
        const int64_t head_bytes =
            before == ids.size() ? text_bytes : static_cast<int64_t>(job_.block.tokenizer->decode(head).size());
        sides_[0]->append(head, head_bytes);
        text_bytes -= head_bytes;
        ids = ids.subspan(before);
      }
      if (tokens_ + static_cast<int64_t>(before) < decisions.tail_tokens) return;
      if (tokens_ <= decisions.tail_tokens) sides_[1]->start_document(all - decisions.tail_tokens);
      sides_[1]->append(ids, text_bytes);
      return;
    }
    SideWriter& side = *sides_[decisions.validation[static_cast<size_t>(piece.number)] ? 1 : 0];
    if (piece.starts) side.start_document(all);
    side.append(ids, text_bytes);
  }

  void save() {
    for (size_t side = 0; side < 2; ++side) state_.sides[side] = sides_[side]->sync();
    work_.save_progress(state_);
    unsaved_ = 0;
  }

  void finish() {
    for (size_t side = 0; side < 2; ++side) state_.sides[side] = sides_[side]->finish();
    state_.finished = true;
    work_.save_progress(state_);
  }

  const EncodeJob& job_;
  const WorkFolder& work_;
  EncodeState state_;
  std::vector<std::unique_ptr<SideWriter>> sides_;  ///< training, validation
  std::optional<RecordReader> records_;
  int64_t resumed_ = 0;
  int64_t unsaved_ = 0;
  int64_t next_document_ = 0;
  // Of the document under way.
  DocumentRecord record_;
  DocumentHash hash_;
  int64_t tokens_ = 0;
  int64_t bytes_ = 0;
  std::string place_;
};

}  // namespace

EncodeState encode_documents(const EncodeJob& job, const WorkFolder& work) { return BlockEncoder(job, work).run(); }

}  // namespace tsugi
