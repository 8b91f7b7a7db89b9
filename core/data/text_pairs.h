// Pieces of text that follow each other in a document or do not: the samples of next-sentence prediction (Devlin et al.
// 2019, section 3.1, task 2, and appendix A.2).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data/token_file.h"
#include "ops/tensor/philox.h"

namespace tsugi {

struct TextPair {
  std::vector<int32_t> first;
  std::vector<int32_t> second;
  bool follows = false;  ///< `second` stands behind `first` in its document; else it is from another document
};

/// Each document is cut into windows of as many tokens as a pair may have, at places that differ from epoch to epoch;
/// one that is shorter is a window. A window is a first piece and the one that follows it, which is kept in half of the
/// pairs; in the others a piece of another document takes its place: as long, and cut alike, so that neither tells.
/// A document of one token is never followed. Memory: 24 bytes per document.
class TextPairs {
 public:
  struct Options {
    int64_t tokens = 2;        ///< of both pieces together, at most; 2 or more
    double short_share = 0.0;  ///< of the pairs: of any number of tokens from 2 on
    std::vector<int32_t> special =
        {};                          ///< ascending; no text: where documents begin or end with them, they are left out
    std::vector<int32_t> ends = {};  ///< ascending; a second piece begins behind one of these where there is one
  };
  /// Throws Error(kData) when the file does not know its documents, or fewer than two of them have text.
  TextPairs(TokenFile file, int64_t vocabulary, Options options);

  /// Pairs of an epoch.
  int64_t windows() const { return first_window_.back(); }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  const TokenFile& file() const { return file_; }

  /// Sample `index` of a run, a pure function of (seed, index): every window once in every epoch, in random order.
  /// Throws Error(kData) naming file, offset and id when an id is not below the vocabulary.
  TextPair sample(uint64_t index, uint64_t seed) const;
  /// Of window `index` of the documents cut from their beginnings: always the same.
  TextPair fixed(int64_t index) const;

 private:
  struct Span {
    int64_t begin = 0;
    int64_t length = 0;
  };
  /// Where the windows of an epoch are cut.
  struct Cuts {
    bool shifted = false;
    uint64_t seed = 0;
    uint64_t epoch = 0;
  };
  int64_t document_of(int64_t window) const;
  Span window(int64_t index, const Cuts& cuts) const;
  TextPair pair(int64_t window, const Cuts& cuts, const RandomStream& stream) const;
  /// The piece that takes the place of one of `length` tokens: from a window of another document than `document`.
  std::vector<int32_t> other_piece(int64_t document, int64_t length, const Cuts& cuts,
                                   const RandomStream& stream) const;
  std::vector<int32_t> read(const Span& span) const;
  /// Where a second piece may begin, in [1, most]: behind an end.
  std::vector<int64_t> places(std::span<const int32_t> tokens, int64_t most) const;

  TokenFile file_;
  int64_t vocabulary_;
  Options options_;
  std::vector<Span> documents_;        ///< those with text
  std::vector<int64_t> first_window_;  ///< of each, and the end
};

}  // namespace tsugi
