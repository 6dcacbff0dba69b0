select 1 as parcel_id, 2 as amount
