//! Speed of the CPU's products with quantized weights, rounding of the activations included.
//!
//! One row is bound by reading the weights (GB/s), many rows by the integer products (GMAC/s; Zen 4 does 64 a cycle and
//! core). Random weights and activations of a fixed seed; each shape runs once unmeasured, then at least five times; the
//! figure is the median of the faster half, because other programs only ever slow a run down. Weights larger than the
//! last cache show what a model's decoding gets.
//!
//! `cargo run --release -p inference --example matmul -- TYPES ROWS OUT WIDTH THREADS`, for instance
//! `-- q4k,q6k,q8_0 1,8,512 8960 1536 1`. A sixth argument names the instructions, such as `avx2`, that are used in place of
//! the fastest of this CPU, or `candle` for its kernels.

use std::{
    io::{Error, Write},
    sync::Arc,
    time::Instant,
};

use candle_core::{
    Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use inference::{
    layers::Linear,
    ops::{Instructions, instructions, pool::pool},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Products that a shape is measured for.
const PRODUCTS: f64 = 2e10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [types, rows, out, width, threads, choice @ ..] = arguments.as_slice() else {
        return Err(Error::other("TYPES ROWS OUT WIDTH THREADS are needed").into());
    };
    let choice = choice.first().map(String::as_str);
    let by_candle = choice == Some("candle");
    if let Some(name) = choice.filter(|_| !by_candle) {
        instructions(Some(named(name)?));
    }
    let (out, width) = (number(out)?, number(width)?);
    pool(Some(number(threads)?));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in types.split(',') {
        let weights = random(&mut rng, out, width)?;
        let weights = QTensor::quantize(&weights, dtype(name)?)?;
        let bytes = weights.storage_size_in_bytes() as f64;
        let product = product(Arc::new(weights), by_candle)?;
        for rows in rows.split(',') {
            let rows = number(rows)?;
            let seconds = measure(&product, &random(&mut rng, rows, width)?)?;
            let products = (rows * out * width) as f64;
            writeln!(
                std::io::stdout(),
                "{name:5} {out} x {width}, {rows:4} rows: {:9.3} ms {:7.1} GMAC/s {:6.1} GB/s of weights",
                seconds * 1e3,
                products / seconds / 1e9,
                bytes / seconds / 1e9,
            )?;
        }
    }
    Ok(())
}

type Product = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

fn product(weights: Arc<QTensor>, by_candle: bool) -> Result<Product> {
    if by_candle {
        let weights = QMatMul::from_arc(weights)?;
        return Ok(Box::new(move |x| weights.forward(x)));
    }
    let linear = Linear::new(weights, None)?;
    Ok(Box::new(move |x| linear.forward(x)))
}

fn named(name: &str) -> Result<Instructions> {
    let mut available = Instructions::available().into_iter();
    let found = available.find(|instructions| instructions.name() == name);
    found.ok_or_else(|| Error::other(format!("this CPU has no `{name}`")).into())
}

/// Returns the seconds of a product.
fn measure(product: &Product, x: &Tensor) -> Result<f64> {
    let (rows, width) = x.dims2()?;
    let out = product(x)?.dim(1)?;
    let repeats = (PRODUCTS / (rows * width * out) as f64).clamp(5.0, 500.0) as usize;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        product(x)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[repeats / 4])
}

fn random(rng: &mut ChaCha8Rng, rows: usize, width: usize) -> Result<Tensor> {
    let values: Vec<f32> = (0..rows * width)
        .map(|_| rng.random_range(-1.0f32..1.0))
        .collect();
    Tensor::from_vec(values, (rows, width), &Device::Cpu)
}

fn number(text: &str) -> Result<usize> {
    text.parse()
        .map_err(|_| Error::other(format!("`{text}` is no number")).into())
}

fn dtype(name: &str) -> Result<GgmlDType> {
    Ok(match name {
        "q4_0" => GgmlDType::Q4_0,
        "q4_1" => GgmlDType::Q4_1,
        "q5_0" => GgmlDType::Q5_0,
        "q5_1" => GgmlDType::Q5_1,
        "q8_0" => GgmlDType::Q8_0,
        "q4k" => GgmlDType::Q4K,
        "q5k" => GgmlDType::Q5K,
        "q6k" => GgmlDType::Q6K,
        _ => return Err(Error::other(format!("unknown type `{name}`")).into()),
    })
}
