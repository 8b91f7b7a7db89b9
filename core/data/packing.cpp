#include "core/data/packing.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>

#include "core/data/hash.h"

namespace tsugi {
namespace {

constexpr size_t kDocumentsAtOnce = size_t{1} << 18;

/// Open rows by the room they have left.
class RowsByRoom {
 public:
  explicit RowsByRoom(int64_t most) : rows_(static_cast<size_t>(most) + 1), any_(rows_.size() / 64 + 1) {}

  void add(int64_t room, int64_t row) {
    const auto index = static_cast<size_t>(room);
    rows_[index].push_back(row);
    any_[index / 64] |= uint64_t{1} << index % 64;
  }
  /// Removes and returns the room and the row of the least room that is at least `length`; room -1 when there is none.
  std::pair<int64_t, int64_t> take(int64_t length) {
    auto word = static_cast<size_t>(length) / 64;
    uint64_t bits = any_[word] & (~uint64_t{0} << length % 64);
    while (bits == 0 && ++word < any_.size()) bits = any_[word];
    if (bits == 0) return {-1, 0};
    const size_t room = word * 64 + static_cast<size_t>(std::countr_zero(bits));
    const int64_t row = rows_[room].back();
    rows_[room].pop_back();
    if (rows_[room].empty()) any_[room / 64] &= ~(uint64_t{1} << room % 64);
    return {static_cast<int64_t>(room), row};
  }

 private:
  std::vector<std::vector<int64_t>> rows_;
  std::vector<uint64_t> any_;
};

}  // namespace

PackedRows::PackedRows(std::span<const int64_t> starts, int64_t tokens, int64_t sequence) {
  CHECK(!starts.empty());
  CHECK_GT(sequence, 0);
  for (size_t begin = 0; begin < starts.size(); begin += kDocumentsAtOnce) {
    std::vector<Segment> pieces;
    for (size_t i = begin; i < std::min(begin + kDocumentsAtOnce, starts.size()); ++i) {
      const int64_t end = i + 1 < starts.size() ? starts[i + 1] : tokens;
      for (int64_t from = starts[i]; from < end; from += sequence) {
        pieces.push_back({from, std::min(sequence, end - from)});
      }
    }
    std::ranges::stable_sort(pieces, [](const Segment& a, const Segment& b) { return a.length > b.length; });
    pack(pieces, sequence);
  }
  fullness_ = static_cast<double>(tokens) / (static_cast<double>(rows()) * static_cast<double>(sequence));
}

void PackedRows::pack(std::span<const Segment> pieces, int64_t sequence) {
  RowsByRoom open(sequence);
  std::vector<int64_t> row_of(pieces.size());
  std::vector<int64_t> sizes;  // segments of every row
  for (size_t i = 0; i < pieces.size(); ++i) {
    auto [room, row] = open.take(pieces[i].length);
    if (room < 0) {
      room = sequence;
      row = static_cast<int64_t>(sizes.size());
      sizes.push_back(0);
    }
    row_of[i] = row;
    ++sizes[static_cast<size_t>(row)];
    if (room > pieces[i].length) open.add(room - pieces[i].length, row);
  }
  // Segments of a row one after another, in the order in which they came into it.
  std::vector<int64_t> next;
  for (const int64_t size : sizes) {
    next.push_back(first_.back());
    first_.push_back(first_.back() + size);
  }
  segments_.resize(static_cast<size_t>(first_.back()));
  for (size_t i = 0; i < pieces.size(); ++i) {
    segments_[static_cast<size_t>(next[static_cast<size_t>(row_of[i])]++)] = pieces[i];
  }
}

std::span<const Segment> PackedRows::row(int64_t index) const {
  CHECK(index >= 0 && index < rows()) << index;
  const auto begin = static_cast<size_t>(first_[static_cast<size_t>(index)]);
  const auto end = static_cast<size_t>(first_[static_cast<size_t>(index) + 1]);
  return std::span(segments_).subspan(begin, end - begin);
}

uint64_t PackedRows::fingerprint() const {
  return hash64(std::as_bytes(std::span(segments_)), hash64(std::as_bytes(std::span(first_))));
}

}  // namespace tsugi
