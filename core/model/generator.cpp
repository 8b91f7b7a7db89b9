#include "core/model/generator.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "core/config/families.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr uint32_t kSamplingSite = 0x53000000;

/// The model with the caches of some texts, which end at the same place.
class Decoder {
 public:
  Decoder(const Context& context, const Transformer& model, size_t rows, int64_t capacity)
      : context_(context),
        model_(model),
        rows_(static_cast<int64_t>(rows)),
        caches_(model.make_caches(context, rows_, capacity)),
        rotary_table_(model.rotary_positions(context, capacity)),
        first_(rows) {}

  bool full() const { return caches_.front().length == caches_.front().keys.shape()[1]; }

  /// Reads the texts from their beginnings, of at most `capacity` tokens each. Returns the logits behind each text's
  /// end, in host memory: [rows, padded vocabulary].
  Tensor read(const std::vector<std::span<const int32_t>>& texts) {
    if (context_.operators() != nullptr && caches_.front().length > 0) {  // tokens are added to zeros there
      for (const KeyValueCache& cache : caches_) {
        fill_zero(context_, cache.keys);
        fill_zero(context_, cache.values);
      }
    }
    size_t longest = 0;
    for (const auto& text : texts) longest = std::max(longest, text.size());
    Tensor logits;
    for (size_t row = 0; row < texts.size(); ++row) {
      const auto length = static_cast<int64_t>(texts[row].size());
      const auto place = static_cast<int64_t>(longest) - length;
      first_[row] = static_cast<int32_t>(place);
      size_t same = 0;
      while (!std::ranges::equal(texts[same], texts[row])) ++same;
      if (same < row) {
        copy_row(same, row, place, length);
        copy_logits(logits, same, row);
        continue;
      }
      std::vector<KeyValueCache> caches = row_caches(row, place);
      const Tensor one = forward(texts[row], {1, length}, caches, std::vector<int32_t>(texts[row].size(), first_[row]));
      const int64_t width = one.shape()[2];
      const Tensor scores = model_.logits(context_, one.slice((length - 1) * width, {1, width}));
      const int64_t columns = scores.shape()[1];
      if (!logits.defined()) logits = host_tensor({rows_, columns}, DType::kF32);
      copy_to_host(context_, scores, logits.slice(static_cast<int64_t>(row) * columns, {1, columns}).raw());
    }
    for (KeyValueCache& cache : caches_) cache.length = static_cast<int64_t>(longest);
    return logits;
  }

  /// Encoder–decoders: what the texts are about, of which the encoder makes the memory of all steps.
  void encode(const std::vector<GenerationRow>& rows) {
    size_t longest = 0;
    for (const GenerationRow& row : rows) longest = std::max(longest, row.prompt.size());
    const Shape shape{rows_, static_cast<int64_t>(longest)};
    const Tensor tokens = integers_of(context_, shape, [&](int32_t* ids) {
      std::fill_n(ids, rows.size() * longest, 0);
      for (size_t row = 0; row < rows.size(); ++row) std::ranges::copy(rows[row].prompt, ids + row * longest);
    });
    const auto end_of = [&](size_t row) { return static_cast<int32_t>(rows[row].prompt.size()); };
    ForwardOptions options;
    options.end_key = integers_of(context_, shape, [&](int32_t* ends) {
      for (size_t row = 0; row < rows.size(); ++row) std::fill_n(ends + row * longest, longest, end_of(row));
    });
    memory_end_ = integers_of(context_, {rows_, 1}, [&](int32_t* ends) {
      for (size_t row = 0; row < rows.size(); ++row) ends[row] = end_of(row);
    });
    Tape tape(context_, false);
    memory_ = model_.hidden(tape, tokens, options).value;
  }

  /// One more token of each text; returns the logits behind it, in host memory.
  Tensor step(std::span<const int32_t> tokens) {
    const Tensor hidden = forward(tokens, {rows_, 1}, caches_, first_);
    return on_host(context_, model_.logits(context_, hidden.reshape({rows_, hidden.shape()[2]})));
  }

 private:
  Tensor forward(std::span<const int32_t> tokens, const Shape& shape, std::vector<KeyValueCache>& caches,
                 const std::vector<int32_t>& first) const {
    const Tensor input = integers_of(context_, shape, [&](int32_t* ids) { std::ranges::copy(tokens, ids); });
    ForwardOptions options;
    options.caches = &caches;
    options.rotary_table = rotary_table_;
    if (std::ranges::any_of(first, [](int32_t place) { return place > 0; })) {
      options.first_key = integers_of(context_, shape, [&](int32_t* places) { std::ranges::copy(first, places); });
      // Each counts from where it begins.
      const auto length = static_cast<int32_t>(caches.front().length);
      const auto columns = static_cast<size_t>(shape[1]);
      options.positions = integers_of(context_, shape, [&](int32_t* positions) {
        for (size_t i = 0; i < first.size(); ++i) {
          positions[i] = length + static_cast<int32_t>(i % columns) - first[i];
        }
      });
    }
    Tape tape(context_, false);
    if (!memory_end_.defined()) return model_.hidden(tape, input, options).value;
    options.memory_end = memory_end_;
    return model_.decoded(tape, input, tape.variable(memory_, false), options).value;
  }

  static Tensor row_of(const Tensor& all, size_t row) {
    const Shape& shape = all.shape();
    return all.slice(static_cast<int64_t>(row) * shape[1] * shape[2], {1, shape[1], shape[2]});
  }

  std::vector<KeyValueCache> row_caches(size_t row, int64_t length) const {
    std::vector<KeyValueCache> caches;
    for (const KeyValueCache& all : caches_) caches.push_back({row_of(all.keys, row), row_of(all.values, row), length});
    return caches;
  }

  void copy_row(size_t from, size_t to, int64_t place, int64_t length) const {
    for (const KeyValueCache& cache : caches_) {
      for (const Tensor& all : {cache.keys, cache.values}) {
        const int64_t width = all.shape()[2];
        const Tensor source = row_of(all, from).slice(place * width, {length, width});
        copy(context_, source, row_of(all, to).slice(place * width, {length, width}));
      }
    }
  }

  static void copy_logits(const Tensor& logits, size_t from, size_t to) {
    const auto columns = static_cast<size_t>(logits.shape()[1]);
    std::copy_n(logits.data<float>() + from * columns, columns, logits.data<float>() + to * columns);
  }

  Context context_;
  const Transformer& model_;
  int64_t rows_;
  std::vector<KeyValueCache> caches_;
  Tensor rotary_table_;
  std::vector<int32_t> first_;  // of each row: where its text begins
  Tensor memory_;               // encoder–decoders: the encoder's output [rows, longest prompt, width]
  Tensor memory_end_;           // and where it ends [rows, 1]
};

/// A random time for each id, exponential with rate 1. The id with the least time / weight is drawn, each with a
/// probability that is proportional to its weight (the Gumbel-max trick; Maddison et al. 2014). Walking along summed
/// probabilities would draw from the same distribution, but there every sum moves when one logit is rounded otherwise,
/// and ids with nearly equal logits change places; here only a tie of the two shortest times can turn.
class Waits {
 public:
  Waits(uint64_t seed, uint64_t index) : stream_{seed, index, kSamplingSite} {}

  double of(int32_t id) const {
    const auto place = static_cast<uint32_t>(id);
    const Philox4 words = stream_.block(place / 2);
    const size_t first = size_t{place % 2} * 2;
    const uint64_t bits = (uint64_t{words[first]} << 32 | words[first + 1]) >> 12;
    return -std::log((static_cast<double>(bits) + 0.5) * 0x1p-52);
  }

 private:
  RandomStream stream_;
};

/// Ids by falling logits, the lower id first among equals. A draw ends among the first few, so no more are put in order
/// than are asked for.
class Ranking {
 public:
  Ranking(const float* logits, int64_t vocabulary) : logits_(logits), ids_(static_cast<size_t>(vocabulary)) {
    std::iota(ids_.begin(), ids_.end(), 0);
  }

  size_t size() const { return ids_.size(); }

  int32_t at(size_t place) {
    if (place >= ordered_) order(place);
    return ids_[place];
  }

 private:
  void order(size_t place) {
    constexpr size_t kFirst = 64;
    constexpr size_t kGrowth = 8;
    const auto before = [this](int32_t a, int32_t b) {
      const float of_a = rank_of(a);
      const float of_b = rank_of(b);
      return of_a > of_b || (of_a == of_b && a < b);
    };
    size_t wanted = std::max(ordered_ * kGrowth, kFirst);
    while (wanted <= place) wanted *= kGrowth;
    wanted = std::min(wanted, ids_.size());
    const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(ordered_);
    const auto end = ids_.begin() + static_cast<std::ptrdiff_t>(wanted);
    if (end != ids_.end()) std::nth_element(begin, end, ids_.end(), before);
    std::sort(begin, end, before);
    ordered_ = wanted;
  }

  /// NaN, of a damaged model, comes last: an order that is none would take the sort out of bounds.
  float rank_of(int32_t id) const {
    return std::isnan(logits_[id]) ? -std::numeric_limits<float>::infinity() : logits_[id];
  }

  const float* logits_;
  std::vector<int32_t> ids_;
  size_t ordered_ = 0;
};

}  // namespace

int32_t sample_token(const float* logits, int64_t vocabulary, const Sampling& sampling, uint64_t index) {
  if (sampling.temperature <= 0.0) {
    return static_cast<int32_t>(std::max_element(logits, logits + vocabulary) - logits);
  }
  Ranking ranking(logits, vocabulary);
  double highest = -std::numeric_limits<double>::infinity();
  for (int64_t id = 0; id < vocabulary; ++id) {
    if (logits[id] > highest) highest = logits[id];
  }
  const auto weight_of = [&](int32_t id) {
    return std::exp((static_cast<double>(logits[id]) - highest) / sampling.temperature);
  };
  auto size = static_cast<size_t>(sampling.top_k > 0 ? std::min(sampling.top_k, vocabulary) : vocabulary);
  const bool ranked = size < static_cast<size_t>(vocabulary) || sampling.top_p < 1.0;
  const auto candidate = [&](size_t i) { return ranked ? ranking.at(i) : static_cast<int32_t>(i); };
  if (sampling.top_p < 1.0) {
    double total = 0.0;
    for (size_t i = 0; i < size; ++i)
      total += weight_of(size < ranking.size() ? ranking.at(i) : static_cast<int32_t>(i));
    const size_t most = size;
    double kept = 0.0;
    for (size = 0; size < most && (size == 0 || kept < sampling.top_p * total); ++size) {
      kept += weight_of(ranking.at(size));
    }
  }
  const Waits waits(sampling.seed, index);
  int32_t first = candidate(0);
  double shortest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < size; ++i) {
    const int32_t id = candidate(i);
    const double wait = waits.of(id) / weight_of(id);
    if (wait < shortest || (wait == shortest && id < first)) {
      shortest = wait;
      first = id;
    }
  }
  return first;
}

std::vector<Continuation> generate_rows(const Context& context, const Transformer& model,
                                        const std::vector<GenerationRow>& rows, const GenerationOptions& options) {
  // Positions by distance know no end of the context.
  const bool encodes = has_decoder(model.config());
  const auto window = encodes ? std::numeric_limits<int64_t>::max() : static_cast<int64_t>(model.config().context());
  std::vector<Continuation> results(rows.size());
  if (rows.empty() || options.count <= 0) return results;
  std::vector<std::vector<int32_t>> texts;
  std::vector<size_t> begins;  // what the model sees of each text
  size_t longest = 0;
  for (size_t row = 0; row < rows.size(); ++row) {
    CHECK(!rows[row].prompt.empty());
    texts.push_back(encodes ? std::vector<int32_t>{model.config().decoder_start_token()} : rows[row].prompt);
    const size_t size = texts.back().size();
    begins.push_back(size - std::min(size, static_cast<size_t>(window)));
    if (begins.back() > 0) ++results[row].restarts;
    longest = std::max(longest, size);
  }
  Decoder decoder(context, model, rows.size(), std::min(window, static_cast<int64_t>(longest) + options.count));
  const auto read = [&] {
    std::vector<std::span<const int32_t>> seen;
    for (size_t row = 0; row < rows.size(); ++row) seen.push_back(std::span(texts[row]).subspan(begins[row]));
    return decoder.read(seen);
  };
  std::vector<int32_t> next(rows.size());
  size_t open = rows.size();
  Tensor logits;
  if (encodes) {
    decoder.encode(rows);
    logits = decoder.step(std::vector<int32_t>(rows.size(), model.config().decoder_start_token()));
  } else {
    logits = read();
  }
  for (int64_t i = 0;; ++i) {
    for (size_t row = 0; row < rows.size(); ++row) {
      Continuation& result = results[row];
      if (result.stopped) continue;
      Sampling sampling = options.sampling;
      sampling.seed = rows[row].seed;
      next[row] = sample_token(logits.data<float>() + static_cast<int64_t>(row) * logits.shape()[1],
                               model.config().vocabulary(), sampling, static_cast<uint64_t>(i));
      if (std::ranges::find(options.stop, next[row]) != options.stop.end()) {
        result.stopped = true;
        --open;
        continue;
      }
      result.ids.push_back(next[row]);
      if (options.on_token) options.on_token(row, next[row]);
    }
    if (open == 0 || i + 1 == options.count) return results;
    // A text that stopped repeats its last token: it costs its row, and nobody looks.
    for (size_t row = 0; row < rows.size(); ++row) texts[row].push_back(next[row]);
    if (!decoder.full()) {
      logits = decoder.step(next);
      continue;
    }
    for (size_t row = 0; row < rows.size(); ++row) {
      if (static_cast<int64_t>(texts[row].size() - begins[row]) <= window) continue;
      begins[row] = texts[row].size() - static_cast<size_t>(std::max<int64_t>(window / 2, 1));
      if (!results[row].stopped) ++results[row].restarts;
    }
    logits = read();
  }
}

}  // namespace tsugi
