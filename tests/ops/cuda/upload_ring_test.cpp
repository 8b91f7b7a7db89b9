#include "ops/cuda/upload_ring.h"

#include "ops/tensor/memory.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi::cuda {
namespace {

constexpr size_t kRing = UploadRing::kSegments * UploadRing::kSegmentBytes;

std::vector<uint32_t> numbers(size_t count, uint32_t first) {
  std::vector<uint32_t> result(count);
  for (size_t i = 0; i < count; ++i) result[i] = first + static_cast<uint32_t>(i);
  return result;
}

TEST(CudaUploadRing, ManyPiecesArriveThoughTheirSourceChanges) {
  testing::for_seeds([] {
    Stream stream;
    UploadRing uploads;
    // Lengths that end inside segments, at their ends and beyond several of them: three times around.
    std::vector<size_t> counts = {1, 17, UploadRing::kSegmentBytes / 4, UploadRing::kSegmentBytes / 4 - 64, 1001};
    for (int i = 0; i < 2; ++i) counts.push_back(kRing / 4 + 12345);
    uint32_t first = 0;
    std::vector<testing::DeviceVector<uint32_t>> targets;
    for (const size_t count : counts) {
      std::vector<uint32_t> source = numbers(count, first);
      targets.emplace_back(count);
      uploads.copy(stream, targets.back().data(), source.data(), count * 4);
      source.assign(count, 0);
      first += static_cast<uint32_t>(count);
    }
    stream.synchronize();
    first = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      EXPECT_EQ(targets[i].read(stream), numbers(counts[i], first)) << "upload " << i;
      first += static_cast<uint32_t>(counts[i]);
    }
  });
}

TEST(CudaUploadRing, TheHostWaitsForASegmentOnlyWhenItComesToItAgain) {
  Stream stream;
  UploadRing uploads;
  const std::vector<uint32_t> source = numbers(kRing / 4, 7);
  const testing::DeviceVector<uint32_t> target(source.size());
  const auto waits_of = [&](size_t bytes) {
    const int64_t before = testing::host_waits();
    uploads.copy(stream, target.data(), source.data(), bytes);
    return testing::host_waits() - before;
  };
  const int64_t one = testing::on_emulator() ? 1 : 0;
  EXPECT_EQ(waits_of(kRing), 0);
  EXPECT_EQ(waits_of(1), one);
  EXPECT_EQ(waits_of(UploadRing::kSegmentBytes - kAlignment), 0);
  EXPECT_EQ(waits_of(kRing), static_cast<int64_t>(UploadRing::kSegments) * one);
  stream.synchronize();
  uploads.all_read();
  EXPECT_EQ(waits_of(kRing), 0) << "all of it had been read";
}

}  // namespace
}  // namespace tsugi::cuda
