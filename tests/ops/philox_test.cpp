#include "ops/tensor/philox.h"

#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "ops/tensor/dropout_factors.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

// kat_vectors of Random123 1.14, philox4x32 with 10 rounds.
TEST(Philox, EqualsThePublishedVectors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0), (Philox4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff),
            (Philox4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Philox4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, EveryPartOfItsKeyMatters) {
  const RandomStream stream{.seed = 1, .sample = 2, .site = 3};
  std::set<uint32_t> words;
  for (uint64_t i = 0; i < 8; ++i) words.insert(stream.word(i));
  for (const RandomStream& other : {RandomStream{2, 2, 3}, RandomStream{1ull << 32 | 1, 2, 3}, RandomStream{1, 3, 3},
                                    RandomStream{1, 1ull << 32 | 2, 3}, RandomStream{1, 2, 4}}) {
    words.insert(other.word(0));
  }
  EXPECT_EQ(words.size(), 13u);
  EXPECT_EQ(stream.word(6), stream.block(1)[2]);
}

TEST(RandomStream, UniformsAreOpenAndEven) {
  EXPECT_GT(uniform_open(0), 0.0f);
  EXPECT_LT(uniform_open(0xffffffff), 1.0f);
  constexpr int kBins = 64;
  constexpr uint32_t kBlocks = 16384;
  std::vector<double> counts(kBins);
  const RandomStream stream{.seed = 9};
  for (uint32_t i = 0; i < kBlocks; ++i) {
    for (const uint32_t word : stream.block(i)) ++counts[static_cast<size_t>(uniform_open(word) * kBins)];
  }
  double chi_squared = 0.0;
  constexpr double kExpected = 4.0 * kBlocks / kBins;
  for (const double count : counts) chi_squared += (count - kExpected) * (count - kExpected) / kExpected;
  EXPECT_LT(chi_squared, 63 + 4 * std::sqrt(2.0 * 63)) << "63 degrees of freedom, four standard deviations";
  EXPECT_GT(chi_squared, 63 - 4 * std::sqrt(2.0 * 63)) << "more even than chance allows";
}

TEST(DropoutFactors, FollowTheStreamOfTheSampleFromAnyElementOn) {
  const Dropout dropout{.p = 0.3f, .seed = 5, .first_sample = (1ull << 32) - 1, .site = 17};
  const float keep = 1.0f / 0.7f;
  int64_t dropped = 0;
  for (const int64_t row : {0, 1}) {
    for (const int64_t begin : {0, 1, 3, 4, 61, 64, 130}) {
      for (const int64_t count : {1, 2, 63, 64, 65, 700}) {
        std::vector<float> factors(static_cast<size_t>(count) + 1, -1.0f);
        dropout_factors(dropout, row, begin, count, factors.data());
        for (int64_t i = 0; i < count; ++i) {
          const bool drop = dropout.stream(row).word(static_cast<uint64_t>(begin + i)) < dropout.threshold();
          ASSERT_FLOAT_EQ(factors[static_cast<size_t>(i)], drop ? 0.0f : keep) << row << " " << begin << " " << i;
          dropped += drop ? 1 : 0;
        }
        ASSERT_EQ(factors.back(), -1.0f) << "wrote past the end";
      }
    }
  }
  const double total = 2 * 7 * (1 + 2 + 63 + 64 + 65 + 700);
  EXPECT_NEAR(static_cast<double>(dropped) / total, 0.3, 0.03);
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  const auto rounded = [](uint32_t bits) { return bf16(std::bit_cast<float>(bits)).bits; };
  EXPECT_EQ(rounded(0x3f800000), 0x3f80);
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80) << "below the middle";
  EXPECT_EQ(rounded(0x3f808000), 0x3f80) << "a tie, even below";
  EXPECT_EQ(rounded(0x3f808001), 0x3f81) << "above the middle";
  EXPECT_EQ(rounded(0x3f818000), 0x3f82) << "a tie, even above";
  EXPECT_EQ(rounded(0xbf818000), 0xbf82);
  EXPECT_EQ(rounded(0x3fffffff), 0x4000) << "a carry into the exponent";
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f80) << "the largest float overflows to infinity";
  EXPECT_EQ(rounded(0x7f800000), 0x7f80);
  EXPECT_EQ(rounded(0xff800000), 0xff80);
  EXPECT_EQ(rounded(0x80000000), 0x8000);
  EXPECT_EQ(rounded(0x00000001), 0x0000) << "the smallest subnormal";
}

TEST(Bf16, NanStaysNan) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xff800001u, 0x7fffffffu, 0xffffffffu}) {
    const bf16 value(std::bit_cast<float>(bits));
    EXPECT_TRUE(std::isnan(static_cast<float>(value))) << std::hex << bits;
    EXPECT_EQ(value.bits >> 15, bits >> 31) << "keeps its sign";
  }
}

TEST(Bf16, EveryValueSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bf16 value;
    value.bits = static_cast<uint16_t>(bits);
    if (std::isnan(static_cast<float>(value))) continue;
    ASSERT_EQ(bf16(static_cast<float>(value)).bits, bits);
  }
}

}  // namespace
}  // namespace tsugi
