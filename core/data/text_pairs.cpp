#include "core/data/text_pairs.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/data/sampler.h"
#include "core/data/training_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr uint32_t kPairSite = 0x4E530000;
constexpr uint32_t kPairShiftSite = 0x4E530001;
constexpr uint64_t kPairValidationSeed = 0x50414952;

/// The words of a pair's stream.
enum PairWord : uint8_t { kShortWord, kLengthWord, kCutWord, kFollowsWord, kOtherWord };

/// How often a piece of another document is drawn until one is as long as it should be and begins where it should.
constexpr uint64_t kWindowsTried = 8;

/// In [0, count), count up to 2³².
int64_t draw_below(uint32_t word, int64_t count) {
  return static_cast<int64_t>(uint64_t{word} * static_cast<uint64_t>(count) >> 32);
}

}  // namespace

TextPairs::TextPairs(TokenFile file, int64_t vocabulary, Options options)
    : file_(std::move(file)), vocabulary_(vocabulary), options_(std::move(options)) {
  CHECK_GE(options_.tokens, 2);
  require_documents(file_);
  const std::span<const int64_t> starts = file_.documents();
  const auto special_at = [&](int64_t place) {
    int32_t token = 0;
    file_.read(place, vocabulary_, {&token, 1});
    return std::ranges::binary_search(options_.special, token);
  };
  first_window_.push_back(0);
  for (size_t i = 0; i < starts.size(); ++i) {
    int64_t begin = starts[i];
    int64_t end = i + 1 < starts.size() ? starts[i + 1] : file_.tokens();
    while (begin < end && special_at(begin)) ++begin;
    while (begin < end && special_at(end - 1)) --end;
    if (begin == end) continue;
    documents_.push_back({begin, end - begin});
    first_window_.push_back(first_window_.back() + std::max<int64_t>((end - begin) / options_.tokens, 1));
  }
  if (documents() < 2) {
    throw Error(ExitCode::kData,
                file_.path() + ": has " + std::to_string(documents()) +
                    " documents with text, but half of the pairs of pieces take one from another document",
                "tsugi prepare takes each file as a document, or what --separator or --form-feed cut out of one");
  }
}

int64_t TextPairs::document_of(int64_t window) const {
  return std::ranges::upper_bound(first_window_, window) - first_window_.begin() - 1;
}

TextPairs::Span TextPairs::window(int64_t index, const Cuts& cuts) const {
  const int64_t document = document_of(index);
  const Span& all = documents_[static_cast<size_t>(document)];
  const int64_t first = first_window_[static_cast<size_t>(document)];
  const int64_t rest = all.length - (first_window_[static_cast<size_t>(document) + 1] - first) * options_.tokens;
  if (rest < 0) return all;
  // Windows leave a rest of less than one; where it lies is drawn, so that all tokens are seen over the epochs.
  const RandomStream stream{cuts.seed, cuts.epoch, kPairShiftSite};
  const int64_t shift = cuts.shifted ? draw_below(stream.word(static_cast<uint64_t>(document)), rest + 1) : 0;
  return {all.begin + shift + (index - first) * options_.tokens, options_.tokens};
}

std::vector<int32_t> TextPairs::read(const Span& span) const {
  std::vector<int32_t> tokens(static_cast<size_t>(span.length));
  file_.read(span.begin, vocabulary_, tokens);
  return tokens;
}

std::vector<int64_t> TextPairs::places(std::span<const int32_t> tokens, int64_t most) const {
  std::vector<int64_t> result;
  for (int64_t place = 1; place <= most; ++place) {
    if (options_.ends.empty() || std::ranges::binary_search(options_.ends, tokens[static_cast<size_t>(place) - 1])) {
      result.push_back(place);
    }
  }
  return result;
}

std::vector<int32_t> TextPairs::other_piece(int64_t document, int64_t length, const Cuts& cuts,
                                            const RandomStream& stream) const {
  const int64_t first = first_window_[static_cast<size_t>(document)];
  const int64_t own = first_window_[static_cast<size_t>(document) + 1] - first;
  for (uint64_t word = kOtherWord;; word += 3) {
    const uint64_t drawn = uint64_t{stream.word(word)} << 32 | stream.word(word + 1);
    auto index = static_cast<int64_t>(drawn % static_cast<uint64_t>(windows() - own));
    if (index >= first) index += own;
    const Span span = window(index, cuts);
    const Span& all = documents_[static_cast<size_t>(document_of(index))];
    const int64_t left = all.begin + all.length - span.begin;
    const std::vector<int64_t> found = places(read(span), std::min(span.length - 1, left - length));
    if (!found.empty()) {
      return read(
          {span.begin +
               found[static_cast<size_t>(draw_below(stream.word(word + 2), static_cast<int64_t>(found.size())))],
           length});
    }
    if (word < kOtherWord + 3 * (kWindowsTried - 1)) continue;
    const int64_t begin = span.length > 1 ? 1 + draw_below(stream.word(word + 2), span.length - 1) : 0;
    return read({span.begin + begin, std::min(length, left - begin)});
  }
}

TextPair TextPairs::pair(int64_t index, const Cuts& cuts, const RandomStream& stream) const {
  Span span = window(index, cuts);
  if (static_cast<double>(stream.word(kShortWord)) * 0x1p-32 < options_.short_share && span.length > 2) {
    span.length = 2 + draw_below(stream.word(kLengthWord), span.length - 1);
  }
  std::vector<int32_t> tokens = read(span);
  TextPair pair;
  int64_t begin = 1;
  if (span.length > 1) {
    const std::vector<int64_t> found = places(tokens, span.length - 1);
    const uint32_t word = stream.word(kCutWord);
    begin = found.empty() ? 1 + draw_below(word, span.length - 1)
                          : found[static_cast<size_t>(draw_below(word, static_cast<int64_t>(found.size())))];
  }
  pair.follows = span.length > 1 && stream.word(kFollowsWord) < uint32_t{1} << 31;
  pair.second = pair.follows ? std::vector<int32_t>(tokens.begin() + begin, tokens.end())
                             : other_piece(document_of(index), std::max<int64_t>(span.length - begin, 1), cuts, stream);
  tokens.resize(static_cast<size_t>(begin));
  pair.first = std::move(tokens);
  return pair;
}

TextPair TextPairs::sample(uint64_t index, uint64_t seed) const {
  const auto size = static_cast<uint64_t>(windows());
  const Cuts cuts{true, seed, index / size};
  const uint64_t window = permute_index(index % size, size, seed, cuts.epoch);
  return pair(static_cast<int64_t>(window), cuts, {seed, index, kPairSite});
}

TextPair TextPairs::fixed(int64_t index) const {
  CHECK(index >= 0 && index < windows()) << index;
  return pair(index, {}, {kPairValidationSeed, static_cast<uint64_t>(index), kPairSite});
}

}  // namespace tsugi
