// Documents packed into rows without cutting those that fit: best-fit packing (Ding et al., "Fewer truncations improve
// language modeling", 2024, section 3).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tsugi {

/// A run of tokens inside one document.
struct Segment {
  int64_t begin = 0;
  int64_t length = 0;
  bool operator==(const Segment&) const = default;
};

/// Rows of at most `sequence` tokens. A document longer than that is cut into pieces of `sequence` and a rest; each
/// piece or document goes, longest first, into the fullest row with room for it (the last opened of several). This is
/// done for 2¹⁸ documents at a time, in the order of the file: the rows are a pure function of the documents and
/// `sequence`. Every token is in exactly one row.
/// Memory: 16 bytes per segment and 8 per row.
class PackedRows {
 public:
  /// `starts` as TokenFile::documents(), not empty.
  PackedRows(std::span<const int64_t> starts, int64_t tokens, int64_t sequence);

  int64_t rows() const { return static_cast<int64_t>(first_.size()) - 1; }
  std::span<const Segment> row(int64_t index) const;
  /// The part of all places in all rows that holds a token.
  double fullness() const { return fullness_; }
  /// A hash of all rows.
  uint64_t fingerprint() const;

 private:
  void pack(std::span<const Segment> pieces, int64_t sequence);

  std::vector<Segment> segments_;
  std::vector<int64_t> first_{0};  ///< of every row, and the end
  double fullness_ = 0.0;
};

}  // namespace tsugi
