#include "core/checkpoint/adapter_folder.h"

#include "core/checkpoint/manifest.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_bytes;

/// The error of reading a folder with this configuration and no weights.
std::string refusal(const std::string& base, const std::string& alpha) {
  const TemporaryFolder folder;
  write_bytes(folder.path() + "/" + kAdapterConfigFile,
              R"({"peft_type":"LORA","base_model_name_or_path":")" + base + R"(","r":2,"lora_alpha":)" + alpha + "}");
  return error_of([&] { AdapterFolder{folder.path()}; });
}

TEST(AdapterFolder, NamesThatNoFileSystemTakesAreNoFolders) {
  EXPECT_THAT(refusal(std::string(5000, 'a'), "4"), HasSubstr("is no folder here"));
  EXPECT_THAT(refusal(".\\u0000", "4"), HasSubstr("base_model_name_or_path"));
}

TEST(AdapterFolder, AlphaMustFitTheNumbersItScales) {
  EXPECT_THAT(refusal(".", "1e300"), HasSubstr("lora_alpha: is too large"));
  EXPECT_THAT(refusal(".", "-1e300"), HasSubstr("lora_alpha: is too large"));
  EXPECT_THAT(refusal(".", "4"), HasSubstr(kAdapterFile));
}

}  // namespace
}  // namespace tsugi
