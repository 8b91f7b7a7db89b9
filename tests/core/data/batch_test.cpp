#include "core/data/batch.h"

#include <gmock/gmock.h>

#include <numeric>
#include <set>

#include "ops/cross_entropy/cross_entropy.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using testing::TestFolder;

/// Token i has id i.
TokenFile counting_file(const TestFolder& folder, int32_t tokens) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  std::iota(ids.begin(), ids.end(), 0);
  TokenFileWriter writer(folder / "a.bin", tokens);
  writer.add_document(ids);
  writer.finish();
  return TokenFile::open(folder / "a.bin");
}

int32_t at(const Tensor& tensor, int64_t row, int64_t column) {
  return tensor.data<int32_t>()[row * tensor.shape()[1] + column];
}

TEST(Batch, TrainingRowsAreTheSamplersWindowsWithShiftedTargets) {
  const TestFolder folder;
  const TokenFile file = counting_file(folder, 1000);
  const Sampler sampler(file.tokens(), 16, 5);
  const Batch batch = fill_training_batch(file, sampler, 1000, 37, 4, 16);
  EXPECT_EQ(batch.first_sample, 37u);
  EXPECT_EQ(batch.tokens.shape(), (Shape{4, 16}));
  EXPECT_EQ(batch.targets.shape(), (Shape{4, 16}));
  EXPECT_FALSE(batch.positions.defined());
  for (int64_t row = 0; row < 4; ++row) {
    const int64_t offset = sampler.offset(37 + static_cast<uint64_t>(row));
    for (int64_t t = 0; t < 16; ++t) {
      EXPECT_EQ(at(batch.tokens, row, t), offset + t);
      EXPECT_EQ(at(batch.targets, row, t), offset + t + 1);
    }
  }
}

// What 2 ranks with 2 rows read is what 1 rank with 4 rows reads.
TEST(Batch, RowsDependOnTheSampleAlone) {
  const TestFolder folder;
  const TokenFile file = counting_file(folder, 500);
  const Sampler sampler(file.tokens(), 8, 1);
  const Batch whole = fill_training_batch(file, sampler, 500, 100, 4, 8);
  const Batch half = fill_training_batch(file, sampler, 500, 102, 2, 8);
  for (int64_t t = 0; t < 8; ++t) {
    EXPECT_EQ(at(whole.tokens, 2, t), at(half.tokens, 0, t));
    EXPECT_EQ(at(whole.targets, 3, t), at(half.targets, 1, t));
  }
}

TEST(Batch, ValidationWindowsFollowEachOtherAndMissingRowsAreIgnored) {
  const TestFolder folder;
  const TokenFile file = counting_file(folder, 45);  // 44 targets: four windows of 10, four tokens left out
  const Batch batch = fill_validation_batch(file, 45, 1, 3, 4, 10);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t t = 0; t < 10; ++t) {
      EXPECT_EQ(at(batch.tokens, row, t), (row + 1) * 10 + t);
      EXPECT_EQ(at(batch.targets, row, t), (row + 1) * 10 + t + 1);
    }
  }
  for (int64_t t = 0; t < 10; ++t) {
    EXPECT_EQ(at(batch.tokens, 3, t), 0);
    EXPECT_EQ(at(batch.targets, 3, t), kIgnoreIndex);
  }
}

/// Where each document starts, by hand.
int32_t first_key_of(const std::vector<int64_t>& starts, int64_t offset, int64_t t) {
  int64_t first = 0;
  for (const int64_t start : starts) {
    if (start <= offset + t) first = std::max<int64_t>(0, start - offset);
  }
  return static_cast<int32_t>(first);
}

TEST(Batch, DocumentsApart) {
  const TestFolder folder;
  const std::vector<int64_t> starts = {0, 1, 2, 9, 25, 26, 60};
  constexpr int64_t kTokens = 61;
  TokenFileWriter writer(folder / "a.bin", 100);
  std::vector<int32_t> ids(kTokens);
  std::iota(ids.begin(), ids.end(), 0);
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t end = i + 1 < starts.size() ? starts[i + 1] : kTokens;
    writer.add_document(std::span(ids).subspan(static_cast<size_t>(starts[i]), static_cast<size_t>(end - starts[i])));
  }
  writer.finish();
  const TokenFile file = TokenFile::open(folder / "a.bin");
  const auto check = [&](const Batch& batch, int64_t row, int64_t offset) {
    for (int64_t t = 0; t < 12; ++t) {
      EXPECT_EQ(at(batch.tokens, row, t), offset + t);
      EXPECT_EQ(at(batch.first_key, row, t), first_key_of(starts, offset, t)) << offset << " + " << t;
      const bool last = std::ranges::count(starts, offset + t + 1) == 1;
      EXPECT_EQ(at(batch.targets, row, t), last ? kIgnoreIndex : offset + t + 1) << offset << " + " << t;
    }
  };
  const Sampler sampler(file.tokens(), 12, 3);
  std::set<int64_t> offsets;
  for (uint64_t sample = 0; sample < 200; sample += 4) {
    const Batch batch = fill_training_batch(file, sampler, 100, sample, 4, 12, Documents::kApart);
    for (uint64_t row = 0; row < 4; ++row) {
      offsets.insert(sampler.offset(sample + row));
      check(batch, static_cast<int64_t>(row), sampler.offset(sample + row));
    }
  }
  EXPECT_GT(offsets.size(), 20u);
  const Batch validation = fill_validation_batch(file, 100, 0, 5, 6, 12, Documents::kApart);
  for (int64_t row = 0; row < 5; ++row) check(validation, row, row * 12);
  for (int64_t t = 0; t < 12; ++t) {
    EXPECT_EQ(at(validation.first_key, 5, t), t) << "padding";
    EXPECT_EQ(at(validation.targets, 5, t), kIgnoreIndex);
  }
  EXPECT_FALSE(fill_validation_batch(file, 100, 0, 5, 6, 12).first_key.defined());
}

TEST(Batch, IdsBeyondTheVocabularyAreErrors) {
  const TestFolder folder;
  const TokenFile file = counting_file(folder, 100);
  EXPECT_THAT(testing::message_of(ExitCode::kData, [&] { fill_validation_batch(file, 55, 0, 9, 9, 11); }),
              ::testing::HasSubstr("token 55 has id 55"));
  EXPECT_NO_THROW(fill_validation_batch(file, 100, 0, 9, 9, 11));
}

}  // namespace
}  // namespace tsugi
