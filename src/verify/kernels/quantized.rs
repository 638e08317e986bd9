//! NF4 in blocks of 64 with double quantisation, as bitsandbytes 0.50 has it (`functional.py`).

use super::super::VerifyError;
use super::super::array::{Array, Binary, Compare, Result, Unary};
use super::{Call, no_kernel};
use crate::dtype::DType;
use crate::ghost::Kernel;

/// Values, or scales, that share a scale.
const BLOCK: usize = 64;
const NESTED_BLOCK: usize = 256;

/// What a code of 4 bits stands for: quantiles of a normal distribution (QLoRA, appendix E).
#[expect(clippy::excessive_precision, reason = "as published")]
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_5,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

/// `create_dynamic_map(signed=True)`: in each decade twice as many values as in the one below.
fn dynamic_map() -> Vec<f32> {
    let mut map = vec![0.0, 1.0];
    for exponent in 0..7_u8 {
        let count = 1_u16 << exponent;
        let decade = 10_f64.powi(i32::from(exponent) - 6);
        for i in 0..count {
            let middle = 0.1 + 0.9 * (f64::from(i) + 0.5) / f64::from(count);
            #[expect(clippy::cast_possible_truncation, reason = "a table in fp32")]
            let value = (decade * middle) as f32;
            map.extend([value, -value]);
        }
    }
    map.sort_by(f32::total_cmp);
    map
}

fn table<A: Array>(call: &Call<'_, A>, numbers: &[f32]) -> Result<A> {
    let mut next = numbers.iter().copied();
    A::floats(call.device, numbers.len(), &mut || next.next().unwrap_or_default())
}

/// `x` in rows of `width`, the last filled with zeros.
fn blocks<A: Array>(call: &Call<'_, A>, x: &A, width: usize) -> Result<A> {
    let len = x.dims()[0];
    let missing = len.next_multiple_of(width) - len;
    let whole = if missing == 0 { x.clone() } else { A::cat(&[x, &A::zeros(call.device, &[missing], x.dtype())?], 0)? };
    whole.reshape(&[len.div_ceil(width), width])
}

fn largest<A: Array>(blocks: &A) -> Result<A> {
    blocks.binary(&blocks.unary(Unary::Neg)?, Binary::Max)?.max(1)?.cast(DType::F32)?.flat()
}

/// Each block over, or times, its scale.
fn scaled<A: Array>(blocks: &A, scales: &A, function: Binary) -> Result<A> {
    blocks.binary(&scales.unsqueeze(1)?.broadcast(&blocks.dims())?, function)
}

pub(super) fn quantize<A: Array>(what: &'static str, call: &Call<'_, A>) -> Result<A> {
    match what {
        "absmax" => {
            let whole = call.input(0)?;
            if !whole.dims()[0].is_multiple_of(BLOCK) {
                return Err(VerifyError::Kernel("a weight that is not whole blocks of 64 values".to_owned()));
            }
            largest(&blocks(call, whole, BLOCK)?)
        }
        "4-bit" => {
            let whole = call.input(0)?.cast(DType::F32)?;
            let normed = scaled(&blocks(call, &whole, BLOCK)?, call.input(1)?, Binary::Div)?;
            let codes = nearest(call, &normed.flat()?)?;
            let pairs = codes.reshape(&[codes.dims()[0] / 2, 2])?;
            let high = pairs.narrow(1, 0, 1)?.scale(16.0)?;
            high.add(&pairs.narrow(1, 1, 1)?)?.flat()
        }
        "code" => table(call, &NF4),
        "dynamic map" => table(call, &dynamic_map()),
        "copied map" => call.input(0)?.copy(),
        "nested absmax" => largest(&blocks(call, call.input(0)?, NESTED_BLOCK)?),
        "8-bit absmax" => {
            let centred = call.input(0)?;
            let len = centred.dims()[0];
            let normed = scaled(&blocks(call, centred, NESTED_BLOCK)?, call.input(1)?, Binary::Div)?;
            let normed = normed.flat()?.narrow(0, 0, len)?;
            let code = call.input(2)?;
            let count = code.dims()[0] - 1;
            let middles = code.narrow(0, 0, count)?.add(&code.narrow(0, 1, count)?)?.scale(0.5)?;
            let dims = [len, count];
            let above = normed
                .unsqueeze(1)?
                .broadcast(&dims)?
                .compare(&middles.unsqueeze(0)?.broadcast(&dims)?, Compare::Gt)?;
            above.sum(&[1])?.flat()
        }
        _ => Err(no_kernel(&Kernel::Quantize(what))),
    }
}

/// The places of the nearest values of NF4: how many of the middles between them are below.
fn nearest<A: Array>(call: &Call<'_, A>, x: &A) -> Result<A> {
    let mut places = A::zeros(call.device, &x.dims(), DType::U8)?;
    for pair in NF4.windows(2) {
        let middle = call.constant(f64::from(f32::midpoint(pair[0], pair[1])), &x.dims(), DType::F32)?;
        places = places.add(&x.compare(&middle, Compare::Gt)?)?;
    }
    Ok(places)
}

pub(super) fn dequantize<A: Array>(what: &'static str, call: &Call<'_, A>) -> Result<A> {
    match what {
        "absmax" => scales(call, call.input(0)?, call.input(1)?, call.input(2)?),
        "4-bit" => dense(call, call.input(0)?, call.input(1)?, call.input(2)?),
        // the kernel that multiplies packed values
        "product" => {
            let x = call.input(0)?;
            let dims = x.dims();
            let inner = dims[dims.len() - 1];
            let rows = dims.iter().product::<usize>() / inner;
            let absmax = match call.inputs.get(4..7) {
                Some([nested, code, offset]) => {
                    let scales = scales(call, call.input(3)?, nested, code)?;
                    scales.add(&offset.flat()?.broadcast(&scales.dims())?)?
                }
                _ => call.input(3)?.clone(),
            };
            let weight = dense(call, call.input(1)?, call.input(2)?, &absmax)?;
            let weight = weight.reshape(&[1, weight.dims()[0] / inner, inner])?;
            x.flat()?.reshape(&[1, rows, inner])?.matmul(&weight.swapped(1, 2)?)?.flat()
        }
        _ => Err(no_kernel(&Kernel::Dequantize(what))),
    }
}

fn scales<A: Array>(call: &Call<'_, A>, places: &A, nested: &A, code: &A) -> Result<A> {
    let len = places.dims()[0];
    let values = blocks(call, &code.rows(places)?, NESTED_BLOCK)?;
    let scaled = scaled(&values, nested, Binary::Mul)?.flat()?;
    if scaled.dims()[0] == len { Ok(scaled) } else { scaled.narrow(0, 0, len)?.copy() }
}

/// The values of packed codes, in the call's type.
fn dense<A: Array>(call: &Call<'_, A>, packed: &A, code: &A, absmax: &A) -> Result<A> {
    let packed = packed.flat()?;
    let places = {
        let sixteen = call.constant(16.0, &packed.dims(), DType::U8)?;
        let high = packed.div(&sixteen)?;
        let low = packed.sub(&high.mul(&sixteen)?)?;
        A::cat(&[&high.unsqueeze(1)?, &low.unsqueeze(1)?], 1)?.flat()?
    };
    let values = code.rows(&places)?;
    drop(places);
    let values = values.reshape(&[values.dims()[0] / BLOCK, BLOCK])?;
    scaled(&values, absmax, Binary::Mul)?.cast(call.dtype)?.flat()
}
