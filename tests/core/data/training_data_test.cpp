#include "core/data/training_data.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "ops/cross_entropy/cross_entropy.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

constexpr int64_t kDataVocabulary = 100'000;

/// Ids `first`, `first` + 1, … cut into documents of these lengths.
TokenFile write_file(const TestFolder& folder, const std::string& name, int32_t first,
                     const std::vector<int64_t>& lengths) {
  TokenFileWriter writer(folder / name, kDataVocabulary);
  for (const int64_t length : lengths) {
    std::vector<int32_t> ids(static_cast<size_t>(length));
    std::iota(ids.begin(), ids.end(), first);
    first += static_cast<int32_t>(length);
    writer.add_document(ids);
  }
  writer.finish();
  return TokenFile::open(folder / name);
}

std::vector<int32_t> row_of(const Tensor& tensor, int64_t row) {
  const int64_t width = tensor.shape()[1];
  const int32_t* data = tensor.data<int32_t>() + row * width;
  return {data, data + width};
}

TEST(TrainingData, OneSourceIsTheSamplersWindows) {
  const TestFolder folder;
  const TokenFile file = write_file(folder, "a.bin", 0, {1000});
  const TrainingData data({{file, 3.0}}, Packing::kContinuous, Documents::kJoined, kDataVocabulary, 16, 5);
  const Batch expected = fill_training_batch(file, Sampler(1000, 16, 5), kDataVocabulary, 200, 4, 16);
  const Batch batch = data.batch(200, 4);
  for (int64_t row = 0; row < 4; ++row) {
    EXPECT_EQ(row_of(batch.tokens, row), row_of(expected.tokens, row));
    EXPECT_EQ(row_of(batch.targets, row), row_of(expected.targets, row));
  }
  EXPECT_EQ(batch.first_sample, 200u);
  EXPECT_EQ(data.fingerprint().at("training data"), std::to_string(file.fingerprint()));
}

TEST(TrainingData, AMixtureTakesEachSourceInItsPartAndWithoutReplacement) {
  const TestFolder folder;
  const TokenFile a = write_file(folder, "a.bin", 0, {2000});
  const TokenFile b = write_file(folder, "b.bin", 10'000, {500});
  const TokenFile c = write_file(folder, "c.bin", 20'000, {90});
  const TrainingData data({{a, 0.7}, {b, 0.2}, {c, 0.1}}, Packing::kContinuous, Documents::kJoined, kDataVocabulary, 8,
                          3);
  const auto shares = data.shares();
  ASSERT_EQ(shares.size(), 3u);
  EXPECT_DOUBLE_EQ(shares[0].part, 0.7);
  EXPECT_EQ(shares[2].epoch_samples, 90 / 8 - 1);
  std::vector<std::vector<int32_t>> firsts(3);
  constexpr int64_t kSamples = 1000;
  for (int64_t sample = 0; sample < kSamples; sample += 5) {
    const Batch batch = data.batch(static_cast<uint64_t>(sample), 5);
    for (int64_t row = 0; row < 5; ++row) {
      const std::vector<int32_t> tokens = row_of(batch.tokens, row);
      for (size_t t = 1; t < tokens.size(); ++t) EXPECT_EQ(tokens[t], tokens[0] + static_cast<int32_t>(t));
      firsts[static_cast<size_t>(tokens[0] / 10'000)].push_back(tokens[0]);
      const double done = static_cast<double>(sample + row + 1);
      for (size_t s = 0; s < 3; ++s) {
        EXPECT_LT(std::abs(static_cast<double>(firsts[s].size()) - done * shares[s].part), 1.0);
      }
    }
  }
  // Inside each epoch of a source no window comes twice, however the batches are cut.
  for (size_t s = 0; s < 3; ++s) {
    const auto epoch = static_cast<size_t>(shares[s].epoch_samples);
    for (size_t begin = 0; begin + epoch <= firsts[s].size(); begin += epoch) {
      const auto from = firsts[s].begin() + static_cast<std::ptrdiff_t>(begin);
      EXPECT_EQ(std::set<int32_t>(from, from + static_cast<std::ptrdiff_t>(epoch)).size(), epoch) << s;
    }
  }
  EXPECT_NE(data.fingerprint(), TrainingData({{a, 0.6}, {b, 0.3}, {c, 0.1}}, Packing::kContinuous, Documents::kJoined,
                                             kDataVocabulary, 8, 3)
                                    .fingerprint());
}

TEST(TrainingData, PackedRowsHoldWholeDocuments) {
  const TestFolder folder;
  const std::vector<int64_t> lengths = {3, 9, 5, 2, 2, 20, 4, 7, 1, 6};
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const TokenFile file = write_file(folder, "a.bin", 1, lengths);  // id = place + 1; 0 is padding
  std::set<int32_t> last;                                          // ids that end their document
  int32_t end = 0;
  for (const int64_t length : lengths) last.insert(end += static_cast<int32_t>(length));
  for (const Documents documents : {Documents::kApart, Documents::kJoined}) {
    const TrainingData data({{file, 1.0}}, Packing::kBestFit, documents, kDataVocabulary, 9, 4);
    const int64_t rows = data.shares()[0].epoch_samples;
    for (uint64_t epoch = 0; epoch < 3; ++epoch) {
      const Batch batch = data.batch(epoch * static_cast<uint64_t>(rows), rows);
      std::set<int32_t> seen;
      for (int64_t row = 0; row < rows; ++row) {
        const std::vector<int32_t> ids = row_of(batch.tokens, row);
        const std::vector<int32_t> targets = row_of(batch.targets, row);
        int32_t first = 0;
        for (int32_t t = 0; t < 9; ++t) {
          const auto i = static_cast<size_t>(t);
          if (ids[i] == 0) {
            EXPECT_EQ(targets[i], kIgnoreIndex) << "padding";
            if (documents == Documents::kApart) {
              EXPECT_EQ(row_of(batch.first_key, row)[i], t);
            }
            continue;
          }
          EXPECT_TRUE(seen.insert(ids[i]).second) << ids[i] << " twice";
          if (t > 0 && ids[i] != ids[i - 1] + 1) first = t;
          if (t > 0 && last.contains(ids[i - 1])) first = t;
          if (documents == Documents::kApart) {
            EXPECT_EQ(row_of(batch.first_key, row)[i], first);
            EXPECT_EQ(targets[i], last.contains(ids[i]) ? kIgnoreIndex : ids[i] + 1);
          } else if (t < 8 && ids[i + 1] != 0) {
            EXPECT_TRUE(targets[i] == ids[i + 1] || targets[i] == ids[i] + 1);
          }
        }
      }
      EXPECT_EQ(static_cast<int64_t>(seen.size()), tokens) << "every token once per epoch";
    }
  }
}

TEST(TrainingData, WhatASourceLacksIsNamed) {
  const TestFolder folder;
  const TokenFile small = write_file(folder, "small.bin", 0, {5});
  std::filesystem::remove(folder / "small.bin.documents");
  const TokenFile bare = TokenFile::open(folder / "small.bin");
  const auto error = [&](const TokenFile& file, Packing packing, Documents documents) {
    return message_of(ExitCode::kData, [&] { TrainingData({{file, 1.0}}, packing, documents, kDataVocabulary, 8, 1); });
  };
  EXPECT_THAT(error(bare, Packing::kBestFit, Documents::kJoined), HasSubstr("small.bin: does not know its documents"));
  EXPECT_THAT(error(bare, Packing::kContinuous, Documents::kApart),
              HasSubstr("small.bin: does not know its documents"));
  EXPECT_THAT(error(bare, Packing::kContinuous, Documents::kJoined), HasSubstr("small.bin: 5 tokens do not fill"));
  const TokenFile longer = write_file(folder, "longer.bin", 0, {8, 3, 9});
  EXPECT_THAT(error(longer, Packing::kWholeDocuments, Documents::kApart),
              HasSubstr("longer.bin: document 2 (from 0) has 9 tokens, but rows of whole documents have 8"));
  EXPECT_NO_THROW(TrainingData({{longer, 1.0}}, Packing::kBestFit, Documents::kApart, kDataVocabulary, 8, 1));
  EXPECT_NO_THROW(TrainingData({{longer, 1.0}}, Packing::kWholeDocuments, Documents::kApart, kDataVocabulary, 9, 1));
  EXPECT_NO_THROW(TrainingData({{small, 1.0}}, Packing::kBestFit, Documents::kJoined, kDataVocabulary, 8, 1));
}

}  // namespace
}  // namespace tsugi
