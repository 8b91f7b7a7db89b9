// A micro-batch in host memory.
#pragma once

#include <cstdint>
#include <span>

#include "core/data/packing.h"
#include "core/data/sampler.h"
#include "core/data/token_file.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// What an objective feeds a model with.
struct Batch {
  Tensor tokens;     ///< i32 [B, T]
  Tensor targets;    ///< i32 [B, T], or one for each of `positions`; kIgnoreIndex where there is nothing to predict
  Tensor positions;  ///< i32 [N]: rows b·T + t whose output is read, or that are seen; undefined: all
  /// i32 [B, T]: index in its row of the first token of each token's document (0 where that began before the row), for
  /// attention that does not look into other documents; undefined: attention over the whole row.
  Tensor first_key;
  /// i32 [B, T]: index behind the last token that each token sees, for the padding of encoders; undefined: the end.
  Tensor end_key;
  Tensor patches;  ///< of pictures instead of tokens: f32 [B, patches, channels·patch²] (core/data/images/augment.h)
  /// Encoder–decoders, whose encoder reads `tokens`: what the decoder reads, i32 [B, T'] (`targets` are as many), and
  /// for each of these what lies behind the last token of the encoder's that it sees; undefined: the end.
  Tensor decoder_tokens;
  Tensor memory_end;
  /// Rows of two pieces of text (core/objective/next_sentence.h): the piece of each token, i32 [B, T]; where each row's
  /// first token is, i32 [B], as in `positions`; whether the second piece is from elsewhere, i32 [B]; and for each of
  /// `positions` its row, and that row's answer, i32 [N] (kIgnoreIndex where there is no target).
  Tensor segments;
  Tensor first_places;
  Tensor answers;
  Tensor vote_rows;
  Tensor votes;
  uint64_t first_sample = 0;  ///< global index of row 0: the key of its random numbers
};

/// What the documents of a file mean for a row of its tokens.
enum class Documents {
  kJoined,  ///< nothing: a row is one text
  /// Each document by itself: `first_key` is filled, and the last token of a document has the target kIgnoreIndex (as
  /// Megatron-LM's --reset-attention-mask with --eod-mask-loss). The file must know its documents (checked).
  kApart,
};

/// A batch without content: what a dry run needs.
Batch shape_of_batch(int64_t rows, int64_t sequence, Documents documents = Documents::kJoined);

/// The batch where the context computes (ops/tensor/copy.h).
Batch on_device(const Context& context, const Batch& batch);

/// int32 of `shape`, uninitialised, in host memory.
Tensor host_integers(Shape shape);

/// A batch of padding in host memory: token 0, target kIgnoreIndex, each token a document by itself.
Batch padding_batch(int64_t rows, int64_t sequence, Documents documents);

/// Row `row` of a batch: the window of T + 1 tokens at `offset`, inputs and the same tokens one further as targets.
void fill_window(const Batch& batch, int64_t row, const TokenFile& file, int64_t vocabulary, int64_t offset);
/// The same from segments of documents (core/data/packing.h) of at most T tokens together; the rest stays as it is.
void fill_segments(const Batch& batch, int64_t row, const TokenFile& file, int64_t vocabulary,
                   std::span<const Segment> segments);

/// Samples [first_sample, first_sample + rows) of a run: inputs, and the same tokens one further as targets.
/// Throws Error(kData) naming file, offset and id when an id is not below `vocabulary`.
Batch fill_training_batch(const TokenFile& file, const Sampler& sampler, int64_t vocabulary, uint64_t first_sample,
                          int64_t rows, int64_t sequence, Documents documents = Documents::kJoined);

/// Consecutive windows [first·T, (first + sequences)·T) from the start of the file. Rows beyond `sequences` are
/// padding.
Batch fill_validation_batch(const TokenFile& file, int64_t vocabulary, int64_t first, int64_t sequences, int64_t rows,
                            int64_t sequence, Documents documents = Documents::kJoined);

}  // namespace tsugi
