//! A file's weights on the device.

use candle_core::{CudaDevice, DType, Device, Result, Tensor, quantized::GgmlDType};

use super::{
    arguments::{Address, PackedMatrix, UnpackWeights},
    kernels::{Kernels, Launch},
    memory::{Buffer, address_of},
};
use crate::{
    gguf::EncodedMatrix,
    ops::packed_matmul::{PackedFormat, TILE_ROWS, pack, units_of},
};

/// A matrix in the order of `packed_gemv.cu`.
#[derive(Debug)]
pub struct Packed {
    units: Buffer,
    format: PackedFormat,
    rows: usize,
    width: usize,
    bias: Option<Tensor>,
}

impl Packed {
    /// Packs and copies a matrix; `bias` is on the device.
    ///
    /// # Errors
    /// A candle error for a type without a format, and when the device is out of memory.
    pub fn new(
        device: &CudaDevice,
        matrix: &EncodedMatrix<'_>,
        bias: Option<Tensor>,
    ) -> Result<Self> {
        let (rows, width) = matrix.shape;
        let (Some(units), Some(format)) = (
            pack(matrix.dtype, matrix.shape, &matrix.data),
            PackedFormat::of(matrix.dtype),
        ) else {
            candle_core::bail!("weights of {:?} have no packed format", matrix.dtype);
        };
        Ok(Self {
            units: Buffer::of(device, &units)?,
            format,
            rows,
            width,
            bias,
        })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn format(&self) -> PackedFormat {
        self.format
    }

    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Returns the address of the bias, 0 where there is none.
    pub fn bias(&self) -> Result<Address> {
        self.bias.as_ref().map_or(Ok(0), address_of)
    }

    /// Returns the matrix as a launch names it.
    pub fn part(&self, y: Address, y_stride: usize) -> Result<PackedMatrix> {
        Ok(PackedMatrix {
            units: self.units.address(),
            bias: self.bias()?,
            y,
            y_stride: y_stride as i64,
            rows: self.rows as i32,
            format: self.format as i32,
        })
    }

    /// Writes the weights as numbers of 16 bits to `out`, `[rows, width]`.
    pub fn unpack(&self, kernels: &Kernels, kernel: &str, out: Address) -> Result<()> {
        let num_units = units_of(self.width);
        let launch = Launch::new([self.rows.div_ceil(TILE_ROWS), num_units, 1], 256);
        let arguments = UnpackWeights {
            units: self.units.address(),
            out,
            rows: self.rows as i32,
            width: self.width as i32,
            num_units: num_units as i32,
            format: self.format as i32,
        };
        kernels.launch(kernel, launch, &arguments)
    }
}

/// The embedding, in 16 bits.
#[derive(Debug)]
pub enum EmbeddingTable {
    Half(Buffer),
    Brain(Buffer),
}

impl EmbeddingTable {
    /// Whether the type can be an embedding here.
    pub fn takes(dtype: GgmlDType) -> bool {
        PackedFormat::of(dtype).is_some()
            || matches!(dtype, GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::F32)
    }

    /// # Errors
    /// A candle error for other types than [`Self::takes`], and when the device is out of memory.
    pub fn new(kernels: &Kernels, matrix: &EncodedMatrix<'_>) -> Result<Self> {
        let device = kernels.device();
        let (rows, width) = matrix.shape;
        match matrix.dtype {
            GgmlDType::F16 => Buffer::of(device, &matrix.data).map(Self::Half),
            GgmlDType::BF16 => Buffer::of(device, &matrix.data).map(Self::Brain),
            GgmlDType::F32 => {
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(&matrix.data);
                let halves =
                    Tensor::from_vec(values, (rows, width), &Device::Cpu)?.to_dtype(DType::F16)?;
                let halves = halves.flatten_all()?.to_vec1::<half::f16>()?;
                Buffer::of(device, bytemuck::cast_slice(&halves)).map(Self::Half)
            }
            _ => {
                let packed = Packed::new(device, matrix, None)?;
                let table = Buffer::uninitialised(device, rows * width * 2)?;
                packed.unpack(kernels, "unpack_weights_f16", table.address())?;
                kernels
                    .stream()
                    .synchronize()
                    .map_err(candle_core::Error::wrap)?;
                Ok(Self::Half(table))
            }
        }
    }
}
