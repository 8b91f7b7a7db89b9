#include "core/data/npy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tsugi {
namespace {

// As numpy.save writes them (numpy 2.3: numpy.save(f, numpy.zeros((2, 3), "float32")), byte by byte).
TEST(Npy, HeaderIsNumpys) {
  const std::vector<float> values{1.0f, -2.0f, 0.5f, 4.0f, 8.0f, -0.25f};
  const std::string text = npy_text(values, 2);
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  ASSERT_EQ(text.size(), 128u + 24u);
  EXPECT_EQ(text.substr(0, 10), std::string("\x93NUMPY\x01\x00v\x00", 10)) << "118 bytes of header";
  EXPECT_EQ(text.substr(10, 118), header + std::string(117 - header.size(), ' ') + "\n");
  EXPECT_EQ(text.substr(128), std::string(reinterpret_cast<const char*>(values.data()), 24));
  const std::vector<int32_t> labels{7, -1};
  const std::string vector = npy_text(labels);
  ASSERT_EQ(vector.size(), 128u + 8u);
  EXPECT_EQ(vector.substr(10, 57), "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }");
}

}  // namespace
}  // namespace tsugi
