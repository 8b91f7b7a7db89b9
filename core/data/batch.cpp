#include "core/data/batch.h"

#include <glog/logging.h>

#include <algorithm>
#include <span>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/tensor/copy.h"

namespace tsugi {

Tensor host_integers(Shape shape) { return host_tensor(shape, DType::kI32); }

namespace {

/// First keys of the row at `offset`, and no targets across the starts of documents.
void separate_documents(std::span<const int64_t> starts, int64_t offset, std::span<int32_t> first_key,
                        std::span<int32_t> targets) {
  auto next = std::ranges::upper_bound(starts, offset);  // the first start behind the row's first token
  int32_t first = 0;
  for (size_t t = 0; t < first_key.size(); ++t) {
    const int64_t position = offset + static_cast<int64_t>(t);
    if (next != starts.end() && *next == position) {
      first = static_cast<int32_t>(t);
      ++next;
    }
    first_key[t] = first;
    if (next != starts.end() && *next == position + 1) targets[t] = kIgnoreIndex;
  }
}

}  // namespace

Batch shape_of_batch(int64_t rows, int64_t sequence, Documents documents) {
  Batch batch;
  batch.tokens = Tensor::view(nullptr, {rows, sequence}, DType::kI32);
  batch.targets = Tensor::view(nullptr, {rows, sequence}, DType::kI32);
  if (documents == Documents::kApart) batch.first_key = Tensor::view(nullptr, {rows, sequence}, DType::kI32);
  return batch;
}

Batch on_device(const Context& context, const Batch& batch) {
  Batch there = batch;
  for (Tensor* tensor : {&there.tokens, &there.targets, &there.positions, &there.first_key, &there.end_key,
                         &there.patches, &there.decoder_tokens, &there.memory_end, &there.segments, &there.first_places,
                         &there.answers, &there.vote_rows, &there.votes}) {
    *tensor = on_device(context, *tensor);
  }
  return there;
}

Batch padding_batch(int64_t rows, int64_t sequence, Documents documents) {
  Batch batch;
  batch.tokens = host_integers({rows, sequence});
  batch.targets = host_integers({rows, sequence});
  std::fill_n(batch.tokens.data<int32_t>(), rows * sequence, 0);
  std::fill_n(batch.targets.data<int32_t>(), rows * sequence, kIgnoreIndex);
  if (documents == Documents::kJoined) return batch;
  batch.first_key = host_integers({rows, sequence});
  int32_t* first_key = batch.first_key.data<int32_t>();
  for (int64_t i = 0; i < rows * sequence; ++i) first_key[i] = static_cast<int32_t>(i % sequence);
  return batch;
}

void fill_window(const Batch& batch, int64_t row, const TokenFile& file, int64_t vocabulary, int64_t offset) {
  const int64_t sequence = batch.tokens.shape()[1];
  std::vector<int32_t> window(static_cast<size_t>(sequence) + 1);
  file.read(offset, vocabulary, window);
  std::copy(window.begin(), window.end() - 1, batch.tokens.data<int32_t>() + row * sequence);
  int32_t* targets = batch.targets.data<int32_t>() + row * sequence;
  std::copy(window.begin() + 1, window.end(), targets);
  if (!batch.first_key.defined()) return;
  CHECK(!file.documents().empty()) << file.path();
  const auto length = static_cast<size_t>(sequence);
  separate_documents(file.documents(), offset, {batch.first_key.data<int32_t>() + row * sequence, length},
                     {targets, length});
}

void fill_segments(const Batch& batch, int64_t row, const TokenFile& file, int64_t vocabulary,
                   std::span<const Segment> segments) {
  const int64_t sequence = batch.tokens.shape()[1];
  int32_t* tokens = batch.tokens.data<int32_t>() + row * sequence;
  int32_t* targets = batch.targets.data<int32_t>() + row * sequence;
  int64_t place = 0;
  std::vector<int32_t> ids;
  for (const Segment& segment : segments) {
    CHECK_LE(place + segment.length, sequence);
    const int64_t end = segment.begin + segment.length;
    const bool goes_on = end < file.tokens() && !std::ranges::binary_search(file.documents(), end);
    ids.resize(static_cast<size_t>(segment.length + (goes_on ? 1 : 0)));
    file.read(segment.begin, vocabulary, ids);
    // In a joined row the first token of a segment is the target of the one before it.
    if (!batch.first_key.defined() && place > 0 && targets[place - 1] == kIgnoreIndex) targets[place - 1] = ids[0];
    std::copy_n(ids.begin(), segment.length, tokens + place);
    std::copy(ids.begin() + 1, ids.end(), targets + place);
    if (batch.first_key.defined()) {
      std::fill_n(batch.first_key.data<int32_t>() + row * sequence + place, segment.length,
                  static_cast<int32_t>(place));
    }
    place += segment.length;
  }
}

Batch fill_training_batch(const TokenFile& file, const Sampler& sampler, int64_t vocabulary, uint64_t first_sample,
                          int64_t rows, int64_t sequence, Documents documents) {
  Batch batch = padding_batch(rows, sequence, documents);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < rows; ++row) {
    fill_window(batch, row, file, vocabulary, sampler.offset(first_sample + static_cast<uint64_t>(row)));
  }
  return batch;
}

Batch fill_validation_batch(const TokenFile& file, int64_t vocabulary, int64_t first, int64_t sequences, int64_t rows,
                            int64_t sequence, Documents documents) {
  Batch batch = padding_batch(rows, sequence, documents);
  for (int64_t row = 0; row < sequences; ++row) fill_window(batch, row, file, vocabulary, (first + row) * sequence);
  return batch;
}

}  // namespace tsugi
