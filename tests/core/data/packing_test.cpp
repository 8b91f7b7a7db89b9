#include "core/data/packing.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace tsugi {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> starts_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> starts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    starts.push_back(begin);
    begin += length;
  }
  return starts;
}

std::vector<Segment> row_of(const PackedRows& rows, int64_t index) {
  const auto row = rows.row(index);
  return {row.begin(), row.end()};
}

TEST(PackedRows, BestFitByHand) {
  // Lengths 6 3 5 2 4 1 in rows of 8, longest first: 6 | 5 | 4 → a third; 3 beside 5; 2 beside 6; 1 beside 4.
  const PackedRows rows(starts_of({6, 3, 5, 2, 4, 1}), 21, 8);
  ASSERT_EQ(rows.rows(), 3);
  EXPECT_THAT(row_of(rows, 0), ElementsAre(Segment{0, 6}, Segment{14, 2}));
  EXPECT_THAT(row_of(rows, 1), ElementsAre(Segment{9, 5}, Segment{6, 3}));
  EXPECT_THAT(row_of(rows, 2), ElementsAre(Segment{16, 4}, Segment{20, 1}));
  EXPECT_DOUBLE_EQ(rows.fullness(), 21.0 / 24.0);
}

TEST(PackedRows, CutsOnlyWhatIsLongerThanARow) {
  const PackedRows rows(starts_of({20, 4, 4}), 28, 8);
  ASSERT_EQ(rows.rows(), 4);
  EXPECT_THAT(row_of(rows, 0), ElementsAre(Segment{0, 8}));
  EXPECT_THAT(row_of(rows, 1), ElementsAre(Segment{8, 8}));
  EXPECT_THAT(row_of(rows, 2), ElementsAre(Segment{16, 4}, Segment{20, 4}));
  EXPECT_THAT(row_of(rows, 3), ElementsAre(Segment{24, 4}));
}

/// The same by looking at every open row.
int64_t rows_by_brute_force(const std::vector<int64_t>& lengths, int64_t sequence) {
  std::vector<int64_t> pieces;
  for (const int64_t length : lengths) {
    for (int64_t done = 0; done < length; done += sequence) pieces.push_back(std::min(sequence, length - done));
  }
  std::ranges::stable_sort(pieces, std::greater<>());
  std::vector<int64_t> rooms;
  for (const int64_t piece : pieces) {
    int64_t* best = nullptr;
    for (int64_t& room : rooms) {
      if (room >= piece && (best == nullptr || room < *best)) best = &room;
    }
    if (best == nullptr) best = &rooms.emplace_back(sequence);
    *best -= piece;
  }
  return static_cast<int64_t>(rooms.size());
}

TEST(PackedRows, EveryTokenIsInOneRowAndRowsAreThoseOfBestFit) {
  uint32_t state = 3;
  const auto random = [&state] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const int64_t sequence : {2, 7, 64, 65, 1024}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<int64_t> lengths(1 + random() % 80);
      int64_t tokens = 0;
      for (int64_t& length : lengths) tokens += length = 1 + random() % (random() % 5 == 0 ? 400 : 70);
      const std::vector<int64_t> starts = starts_of(lengths);
      const PackedRows rows(starts, tokens, sequence);
      EXPECT_EQ(rows.rows(), rows_by_brute_force(lengths, sequence));
      std::vector<int> seen(static_cast<size_t>(tokens));
      for (int64_t i = 0; i < rows.rows(); ++i) {
        int64_t filled = 0;
        for (const Segment& segment : rows.row(i)) {
          filled += segment.length;
          for (int64_t t = segment.begin; t < segment.begin + segment.length; ++t) ++seen[static_cast<size_t>(t)];
          const auto next = std::ranges::upper_bound(starts, segment.begin);
          EXPECT_LE(segment.begin + segment.length, next == starts.end() ? tokens : *next) << "inside a document";
          const int64_t document = next[-1];
          const int64_t size = (next == starts.end() ? tokens : *next) - document;
          if (size <= sequence) {
            EXPECT_EQ(segment, (Segment{document, size})) << "not cut";
          }
        }
        EXPECT_LE(filled, sequence);
        EXPECT_GT(filled, 0);
      }
      EXPECT_EQ(std::ranges::count(seen, 1), tokens);
      EXPECT_EQ(rows.fingerprint(), PackedRows(starts, tokens, sequence).fingerprint());
    }
  }
}

TEST(PackedRows, MoreDocumentsThanArePackedAtOnce) {
  const std::vector<int64_t> starts = starts_of(std::vector<int64_t>((1 << 18) + 5, 3));
  const auto tokens = static_cast<int64_t>(starts.size()) * 3;
  const PackedRows rows(starts, tokens, 6);
  EXPECT_EQ(rows.rows(), (1 << 17) + 3);
}

}  // namespace
}  // namespace tsugi
