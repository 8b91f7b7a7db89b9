#include "ops/base/recycled.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace tsugi {
namespace {

TEST(Recycled, ABlockServesTheNextOfItsSize) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "nothing is kept where AddressSanitizer looks on";
#endif
  void* const first = take_recycled(100);
  give_recycled(first, 100);
  void* const larger = take_recycled(200);
  EXPECT_NE(larger, first);
  void* const again = take_recycled(120);  // both are of 128 bytes
  EXPECT_EQ(again, first);
  give_recycled(larger, 200);
  give_recycled(again, 120);
}

TEST(Recycled, EverySizeCanBeWrittenWhole) {
  for (const size_t bytes : {1, 8, 16, 17, 4096, 65536, 65537, 1 << 20}) {
    for (int round = 0; round < 2; ++round) {
      auto* const block = static_cast<unsigned char*>(take_recycled(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__, 0u);
      std::fill_n(block, bytes, 0xab);
      give_recycled(block, bytes);
    }
  }
}

TEST(Recycled, AnotherThreadMayGiveBack) {
  std::vector<std::shared_ptr<std::array<int, 20>>> objects;
  for (int i = 0; i < 100; ++i) objects.push_back(make_recycled<std::array<int, 20>>());
  std::thread([&] { objects.clear(); }).join();
  for (int i = 0; i < 100; ++i) objects.push_back(make_recycled<std::array<int, 20>>());
  for (size_t i = 1; i < objects.size(); ++i) EXPECT_NE(objects[i], objects[i - 1]);
}

TEST(RecycledCall, RunsAndReleasesWhatItCaptured) {
  const auto count = std::make_shared<int>(0);
  {
    RecycledCall call([count] { ++*count; });
    EXPECT_EQ(count.use_count(), 2);
    call();
    RecycledCall moved(std::move(call));
    moved();
    EXPECT_EQ(count.use_count(), 2);
    RecycledCall other([count] { *count += 10; });
    moved = std::move(other);
    moved();
  }
  EXPECT_EQ(*count, 12);
  EXPECT_EQ(count.use_count(), 1);
}

TEST(RecycledCall, TakesWhatCanOnlyBeMoved) {
  int seen = 0;
  std::vector<RecycledCall, RecyclingAllocator<RecycledCall>> calls;
  for (int i = 1; i <= 40; ++i) calls.emplace_back([number = std::make_unique<int>(i), &seen] { seen += *number; });
  for (RecycledCall& call : calls) call();
  EXPECT_EQ(seen, 820);
}

}  // namespace
}  // namespace tsugi
