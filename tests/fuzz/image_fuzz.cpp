// PNG and JPEG files: an Error(kData), or as many pixels as it says, within the limits.
#include "core/data/images/image_set.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(image) {
  using namespace tsugi;
  const ImageLimits limits{.pixels = 1 << 16, .file_bytes = 1 << 20};
  fuzzing::refuse_or([&] {
    const ImageSet set = decode_image(input, "fuzz", limits);
    CHECK(set.channels == 1 || set.channels == 3);
    CHECK_LE(set.height * set.width, limits.pixels);
    CHECK_EQ(set.count(), 1);
  });
}
