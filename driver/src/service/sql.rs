//! Answers of queries, as Flight sends them.

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::StreamExt;
use lethe_flight::limits;
use lethe_flight::server::Outgoing;
use tonic::Status;

use lethe_tables::Answer;

pub fn send(answer: Answer) -> Outgoing<FlightData> {
    FlightDataEncoderBuilder::new()
        .with_schema(answer.schema)
        .with_max_flight_data_size(limits::CHUNK_BYTES)
        .build(
            answer.rows.map(|batch| batch.map_err(|error| FlightError::Tonic(Box::new(Status::from(error))))),
        )
        .map(|frame| {
            frame.map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                other => Status::internal(other.to_string()),
            })
        })
        .boxed()
}
