// The only place that knows stb_image, which decodes baseline and progressive JPEG and PNG.
#include <algorithm>
#include <limits>

#include "core/data/images/image_set.h"
#include "ops/base/error.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS (1 << 20)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace tsugi {

ImageSet decode_image(std::span<const uint8_t> file, const std::string& name, const ImageLimits& limits) {
  const auto refuse = [&](const std::string& reason) { return Error(ExitCode::kData, name + ": " + reason); };
  if (file.size() > static_cast<size_t>(std::min<int64_t>(limits.file_bytes, std::numeric_limits<int>::max()))) {
    throw refuse("is larger than " + std::to_string(limits.file_bytes) + " bytes");
  }
  const auto size = static_cast<int>(file.size());
  int width = 0;
  int height = 0;
  int channels = 0;
  if (stbi_info_from_memory(file.data(), size, &width, &height, &channels) == 0) {
    throw refuse("is no PNG or JPEG image, or is damaged: " + std::string(stbi_failure_reason()));
  }
  if (width < 1 || height < 1 || int64_t{width} * height > limits.pixels) {
    throw refuse("has " + std::to_string(width) + "x" + std::to_string(height) + " pixels; the limit is " +
                 std::to_string(limits.pixels) + " in all");
  }
  const int wanted = channels >= 3 ? 3 : 1;
  stbi_uc* const decoded = stbi_load_from_memory(file.data(), size, &width, &height, &channels, wanted);
  if (decoded == nullptr) throw refuse("is damaged: " + std::string(stbi_failure_reason()));
  ImageSet set;
  set.name = name;
  set.width = width;
  set.height = height;
  set.channels = wanted;
  set.pixels.assign(decoded, decoded + set.image_bytes());
  stbi_image_free(decoded);
  return set;
}

}  // namespace tsugi
