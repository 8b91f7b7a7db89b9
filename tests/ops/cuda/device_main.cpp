// main() of device_tests: without a device every test is skipped, by name (with --rows: exit code 2).
//   device_tests [--rows FILE.jsonl] [--orders N] [gtest's options]
// --rows: a line of JSON per test, as it ends. Tests that FILE has are not run again. A test that fails ends the
// program (exit code 3), because a fault on the device fails every later one: begun again, it goes on behind that test;
// when none is left it ends with 1 if any of FILE failed. --orders: how often tests of reproducibility repeat their
// work (100).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "benchmarks/row_file.h"
#include "ops/cuda/runtime.h"
#include "tests/ops/cuda/testing.h"

namespace {

int orders = 100;
constexpr unsigned kSecondsOfATest = 90;
constexpr int kMoreToRun = 3;

class NeedsDevice : public ::testing::Environment {
 public:
  void SetUp() override {
    std::string why;
    if (tsugi::cuda::device_count(why) == 0) GTEST_SKIP() << "no CUDA: " << why;
    tsugi::cuda::use_device(0);
    std::cout << "on " << tsugi::cuda::describe_device() << "\n";
  }
};

std::string full_name(const ::testing::TestInfo& test) {
  return std::string(test.test_suite_name()) + "." + test.name();
}
std::string beginning_of(const std::string& name) { return "{\"test\": " + tsugi::json_text(name); }

class Rows : public ::testing::EmptyTestEventListener {
 public:
  explicit Rows(const std::string& path) : file_(path, kSecondsOfATest) {}

  /// The names of this program's tests that the file has, joined by ':'.
  std::string done() const {
    std::string names;
    const auto& all = *::testing::UnitTest::GetInstance();
    for (int s = 0; s < all.total_test_suite_count(); ++s) {
      const auto& suite = *all.GetTestSuite(s);
      for (int t = 0; t < suite.total_test_count(); ++t) {
        const std::string name = full_name(*suite.GetTestInfo(t));
        if (file_.has(beginning_of(name) + ",")) names += (names.empty() ? "" : ":") + name;
      }
    }
    return names;
  }
  bool any_failed() const {
    return std::ranges::any_of(file_.earlier(), [](const std::string& line) {
      return line.find("\"result\": \"failed\"") != std::string::npos || line.find("\"error\"") != std::string::npos;
    });
  }

 private:
  void OnTestStart(const ::testing::TestInfo& test) override { file_.begin(beginning_of(full_name(test))); }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed() && why_.empty()) why_ = result.message();
  }
  void OnTestEnd(const ::testing::TestInfo& test) override {
    const auto& result = *test.result();
    std::string rest = std::string(", \"result\": \"") + (result.Failed()    ? "failed"
                                                          : result.Skipped() ? "skipped"
                                                                             : "passed");
    rest += "\", \"milliseconds\": " + std::to_string(result.elapsed_time());
    if (!why_.empty()) rest += ", \"why\": " + tsugi::json_text(why_);
    file_.end(rest + "}");
    why_.clear();
    if (!result.Failed()) return;
    std::cout << std::flush;
    std::_Exit(kMoreToRun);
  }

  tsugi::RowFile file_;
  std::string why_;
};

}  // namespace

namespace tsugi::testing {

int order_count() { return orders; }

void use_order(int) {}

bool on_emulator() { return false; }

int64_t host_waits() { return 0; }

}  // namespace tsugi::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::string path;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--rows" && i + 1 < argc) {
      path = argv[++i];
    } else if (argument == "--orders" && i + 1 < argc && std::atoi(argv[i + 1]) > 0) {
      orders = std::atoi(argv[++i]);
    } else {
      std::cerr << "usage: device_tests [--rows FILE.jsonl] [--orders N] [gtest's options]\n";
      return 2;
    }
  }
  ::testing::AddGlobalTestEnvironment(new NeedsDevice);  // gtest owns it
  if (path.empty()) return RUN_ALL_TESTS();
  if (std::string why; tsugi::cuda::device_count(why) == 0) {
    std::cerr << "device_tests: no CUDA: " << why << "\n";
    return 2;
  }
  try {
    auto* const rows = new Rows(path);
    ::testing::UnitTest::GetInstance()->listeners().Append(rows);  // which owns it
    if (const std::string done = rows->done(); !done.empty()) {
      const std::string filter = GTEST_FLAG_GET(filter);
      GTEST_FLAG_SET(filter, filter + (filter.find('-') == std::string::npos ? "-" : ":") + done);
    }
    const int code = RUN_ALL_TESTS();
    return code != 0 || rows->any_failed() ? 1 : 0;
  } catch (const tsugi::Error& error) {
    std::cerr << "device_tests: " << error.what() << "\n";
    return 2;
  }
}
